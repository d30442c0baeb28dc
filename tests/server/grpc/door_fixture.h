// The gRPC door on loopback over the real service and an engine that the test plays.
#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>

#include <catch2/catch.hpp>
#include <future>
#include <memory>
#include <string>

#include "latentd/v1/latentd.grpc.pb.h"
#include "server/grpc/grpc_door.h"
#include "server/service.h"
#include "tests/server/byte_tokenizer.h"
#include "tests/server/fake_engine.h"

namespace latentd::testing {

struct DoorFixture {
  explicit DoorFixture(GrpcDoor::Options wanted = {}) {
    model.config.vocab_size = kVocabSize;
    model.config.kv_lora_rank = 128;
    model.generation.eos_token_ids = {kEos};
    parts.model = &model;
    parts.tokenizer = tokenizer.get();
    parts.engine = &engine;
    parts.metrics = &metrics;
    parts.clock = Steady();
    parts.model_id = "demo";
    parts.version = "1.2.3";
    parts.max_context = 4096;
    service = Service::Create(parts);
    wanted.address = "127.0.0.1:0";
    auto started = GrpcDoor::Start(wanted, service.get(), &metrics);
    REQUIRE(started.ok());
    door = *std::move(started);
    channel = Connect(door->address());
    stub = v1::Inference::NewStub(channel);
  }

  // A channel of its own: none is shared through gRPC's global pool.
  static std::shared_ptr<grpc::Channel> Connect(const std::string& address) {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
  }

  static Clock* Steady() {
    struct SteadyClock final : Clock {
      TimePoint Now() override { return std::chrono::steady_clock::now(); }
    };
    static SteadyClock clock;
    return &clock;
  }

  Model model;
  std::unique_ptr<Tokenizer> tokenizer = MakeByteTokenizer();
  FakeEngine engine;
  CountingMetrics metrics;
  ServiceParts parts;
  std::unique_ptr<Service> service;
  std::unique_ptr<GrpcDoor> door;
  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<v1::Inference::Stub> stub;
};

}  // namespace latentd::testing
