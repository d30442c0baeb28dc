#include "server/cli/blocking.h"
#include "server/cli/commands.h"
#include "server/cli/standard_output.h"

namespace latentd {

absl::Status RunGenerate(Service& service, const GenerateCommand& command) {
  v1::GenerateRequest request;
  request.set_text(command.prompt);
  request.mutable_stop()->set_max_tokens(command.max_tokens);
  if (command.temperature) request.mutable_sampling()->set_temperature(*command.temperature);
  if (command.seed) request.mutable_sampling()->set_seed(*command.seed);
  if (command.width) *request.mutable_width() = *command.width;
  CallContext context;
  context.received = Clock::Steady()->Now();
  auto stream = WaitFor<std::shared_ptr<GenerateStream>>(
      [&](auto done) { service.Generate(std::move(request), context, std::move(done)); });
  if (!stream.ok()) return stream.status();
  return ReadAll(**stream,
                 [](const v1::GenerateResponse& message) { return WriteToStdout(message.text()); });
}

}  // namespace latentd
