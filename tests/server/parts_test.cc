// Small parts of the service: the preparation pool and the tenants' salts.
#include <atomic>
#include <catch2/catch.hpp>
#include <future>
#include <string>

#include "server/in_flight.h"
#include "server/preprocess_pool.h"
#include "server/tenant_salt.h"

namespace latentd {
namespace {

TEST_CASE("Salts are equal for equal pairs only") {
  const TenantSalts salts({1, 2});
  CHECK(salts.Salt("k", "s") == salts.Salt("k", "s"));
  CHECK(salts.Salt("k", "s") != salts.Salt("k", "t"));
  CHECK(salts.Salt("ab", "c") != salts.Salt("a", "bc"));
  CHECK(salts.Salt("", "c") != salts.Salt("c", ""));
  CHECK(salts.Salt("", "") != TenantSalts({1, 3}).Salt("", ""));
  CHECK(TenantSalts().Salt("", "") != TenantSalts().Salt("", ""));
  const auto salt = salts.Salt("k", "s");
  CHECK(salt[0] != salt[1]);
}

TEST_CASE("The pool bounds bytes, counting what runs, and always takes one job") {
  std::promise<bool> started;
  std::promise<void> go;
  PreprocessPool pool(1, 100);
  REQUIRE(pool.Submit(1000, [&](bool run) {
    started.set_value(run);
    go.get_future().wait();
  }));
  CHECK(started.get_future().get());
  CHECK_FALSE(pool.Submit(1, [](bool) { FAIL("was refused"); }));
  go.set_value();
}

TEST_CASE("Jobs wait up to the bound and run in order") {
  std::promise<void> started, go, done;
  std::string order;
  PreprocessPool pool(1, 100);
  REQUIRE(pool.Submit(10, [&](bool) {
    started.set_value();
    go.get_future().wait();
  }));
  started.get_future().wait();
  REQUIRE(pool.Submit(40, [&](bool) { order += 'a'; }));
  REQUIRE(pool.Submit(50, [&](bool) {
    order += 'b';
    done.set_value();
  }));
  CHECK_FALSE(pool.Submit(1, [](bool) {}));
  go.set_value();
  done.get_future().wait();
  CHECK(order == "ab");
}

TEST_CASE("Of several threads one takes no long job") {
  for (const int threads : {2, 3}) {
    std::promise<void> go, done;
    const std::shared_future<void> going = go.get_future().share();
    std::atomic<int> begun{0};
    PreprocessPool pool(threads, uint64_t{1} << 30);
    for (int i = 0; i < threads; ++i) {
      REQUIRE(pool.Submit(PreprocessPool::kShortBytes + 1, [&begun, going](bool) {
        ++begun;
        going.wait();
      }));
    }
    REQUIRE(pool.Submit(PreprocessPool::kShortBytes, [&done](bool) { done.set_value(); }));
    done.get_future().wait();
    CHECK(begun < threads);
    go.set_value();
  }
}

TEST_CASE("Short and long jobs are taken in the order of their coming") {
  std::promise<void> started, go, done;
  std::string order;
  PreprocessPool pool(1, uint64_t{1} << 30);
  REQUIRE(pool.Submit(1, [&](bool) {
    started.set_value();
    go.get_future().wait();
  }));
  started.get_future().wait();
  for (const char name : std::string("asblcs")) {
    const uint64_t bytes = name == 's' ? 1 : PreprocessPool::kShortBytes + 1;
    REQUIRE(pool.Submit(bytes, [&order, name](bool) { order += name; }));
  }
  REQUIRE(pool.Submit(1, [&](bool) { done.set_value(); }));
  go.set_value();
  done.get_future().wait();
  CHECK(order == "asblcs");
}

TEST_CASE("Jobs left at the end are told so, and none is lost") {
  int run = 0, told = 0;  // the pool has one thread, joined before they are read
  {
    PreprocessPool pool(1, 100);
    for (int i = 0; i < 50; ++i) {
      REQUIRE(pool.Submit(1, [&](bool runs) { ++(runs ? run : told); }));
    }
  }
  CHECK(run + told == 50);
}

TEST_CASE("The count of requests under way tells when it falls to zero") {
  auto count = std::make_shared<InFlightCount>();
  int zeros = 0;
  count->OnZero([&] { ++zeros; });
  auto one = count->Ticket();
  auto copy = one;
  auto two = count->Ticket();
  CHECK(count->count() == 2);
  one.reset();
  CHECK(count->count() == 2);
  copy.reset();
  CHECK(count->count() == 1);
  CHECK(zeros == 0);
  count.reset();  // a ticket keeps it alive
  two.reset();
  CHECK(zeros == 1);
}

}  // namespace
}  // namespace latentd
