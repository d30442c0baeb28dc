#include "server/cli/read_file.h"

#include <unistd.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>

namespace latentd {
namespace {

struct TempFile {
  explicit TempFile(const std::string& content) {
    std::ofstream(path, std::ios::binary) << content;
  }
  ~TempFile() { std::filesystem::remove(path); }
  const std::string path =
      (std::filesystem::temp_directory_path() / ("read_file_test." + std::to_string(getpid())))
          .string();
};

std::string MessageOf(const std::string& path, size_t max_bytes) {
  const auto content = ReadWholeFile("config file", path, max_bytes);
  REQUIRE(content.status().code() == absl::StatusCode::kNotFound);
  return std::string(content.status().message());
}

TEST_CASE("A file is read whole, up to its limit") {
  for (const size_t size : {size_t{0}, size_t{1}, size_t{65'536}, size_t{200'000}}) {
    std::string bytes(size, '\0');
    for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<char>(i * 7);
    const TempFile file(bytes);
    const auto content = ReadWholeFile("file", file.path, size);
    REQUIRE(content.ok());
    CHECK(*content == bytes);
    if (size > 0) {
      CHECK(MessageOf(file.path, size - 1) ==
            "config file " + file.path + " is longer than " + std::to_string(size - 1) + " bytes");
    }
  }
}

TEST_CASE("What cannot be read is named, with the reason") {
  CHECK(MessageOf("/no/such", 10) ==
        "config file /no/such cannot be read: No such file or directory");
  CHECK(MessageOf("/", 10) == "config file / cannot be read: Is a directory");
}

TEST_CASE("An endless file ends at the limit") {
  CHECK(MessageOf("/dev/zero", 1'000'000) == "config file /dev/zero is longer than 1000000 bytes");
}

}  // namespace
}  // namespace latentd
