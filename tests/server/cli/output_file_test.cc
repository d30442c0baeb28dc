#include "server/cli/output_file.h"

#include <unistd.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <iterator>

namespace latentd {
namespace {

struct Folder {
  Folder() {
    std::string name = std::filesystem::temp_directory_path() / "latentd-output-XXXXXX";
    REQUIRE(mkdtemp(name.data()) != nullptr);
    path = name;
  }
  ~Folder() { std::filesystem::remove_all(path); }
  std::filesystem::path path;
};

std::string Content(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

TEST_CASE("A file is replaced only when it is written") {
  Folder folder;
  const auto path = folder.path / "grid.csv";
  std::ofstream(path) << "a long line of an earlier run";
  {
    OutputFile file;
    REQUIRE(file.Open("--csv", path).ok());
    CHECK(Content(path) == "a long line of an earlier run");
  }
  CHECK(Content(path) == "a long line of an earlier run");
  OutputFile file;
  REQUIRE(file.Open("--csv", path).ok());
  REQUIRE(file.Write("short").ok());
  CHECK(Content(path) == "short");
}

TEST_CASE("A new file that nothing was written to is gone") {
  Folder folder;
  const auto path = folder.path / "new.svg";
  {
    OutputFile file;
    REQUIRE(file.Open("--svg", path).ok());
    CHECK(std::filesystem::exists(path));
  }
  CHECK_FALSE(std::filesystem::exists(path));
  {
    OutputFile file;
    REQUIRE(file.Open("--svg", path).ok());
    REQUIRE(file.Write("x").ok());
  }
  CHECK(Content(path) == "x");
}

TEST_CASE("A file that cannot be written is refused by flag, name and reason") {
  Folder folder;
  OutputFile file;
  const auto status = file.Open("--svg", folder.path / "missing/grid.svg");
  CHECK(status.code() == absl::StatusCode::kPermissionDenied);
  CHECK_THAT(std::string(status.message()), Catch::StartsWith("--svg ") &&
                                                Catch::Contains("missing/grid.svg") &&
                                                Catch::Contains("No such file"));
  OutputFile directory;
  CHECK_FALSE(directory.Open("--csv", folder.path).ok());
}

TEST_CASE("A full device is an error; a device is no file to remove") {
  OutputFile file;
  REQUIRE(file.Open("--csv", "/dev/full").ok());
  CHECK_FALSE(file.Write("x").ok());
  OutputFile null;
  REQUIRE(null.Open("--csv", "/dev/null").ok());
  CHECK(null.Write("x").ok());
  CHECK(std::filesystem::exists("/dev/null"));
}

}  // namespace
}  // namespace latentd
