// A client that sends bytes as they are and reads answers strictly.
#pragma once

#include <map>
#include <string>
#include <string_view>

namespace latentd {

struct RawResponse {
  int status = 0;
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;                            // chunks joined
  bool chunked = false;
};

// Throws std::runtime_error on anything unexpected, and after 20 seconds without progress, which
// only a hanging server needs.
class RawClient {
 public:
  // receive_buffer: bytes the kernel may hold for us, 0 for its default.
  explicit RawClient(int port, int receive_buffer = 0);
  ~RawClient();
  RawClient(const RawClient&) = delete;

  void Send(std::string_view bytes);
  // As much as the server takes without reading on; false when it has closed.
  bool TrySend(std::string_view bytes);
  void CloseSend();
  void Reset();  // an abrupt end: RST
  // One response; `head`: it answers HEAD.
  RawResponse Read(bool head = false);
  std::string ReadUntil(std::string_view mark);  // with the mark
  // The rest, until the server closes.
  std::string ReadToEnd();
  // Whether the server closed, with nothing more to read.
  bool AtEnd();

 private:
  bool Fill();  // false: the end
  std::string Take(size_t num_bytes);

  int fd_ = -1;
  std::string buffer_;
};

// A request with Host and Content-Length, as ordinary clients send it.
std::string Post(std::string_view path, std::string_view body, std::string_view more_headers = "");
std::string Get(std::string_view path, std::string_view more_headers = "");
// The data of every event of a stream.
std::string EventData(const std::string& body);

}  // namespace latentd
