# Compiler settings of the build types, and the two functions that declare every target.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads REQUIRED)
if(NOT LATENTD_BUILD STREQUAL "aarch64")
  find_package(absl REQUIRED)  # here, so that every folder sees its targets
endif()

# -ffp-contract=off: a product and a sum are fused only where a kernel says so, so that the bits of a
# result do not depend on what the compiler chose to contract.
add_compile_options(-Wall -Wextra -Werror -ffp-contract=off -fno-omit-frame-pointer)
if(LATENTD_BUILD MATCHES "^(release|aarch64)$")
  set(CMAKE_BUILD_TYPE "")
  add_compile_options(-O3 -g1 -D_FORTIFY_SOURCE=2 -fstack-protector-strong)
  add_link_options(-Wl,-z,relro,-z,now)
elseif(LATENTD_BUILD STREQUAL "asan")
  # GCC 12 sees uninitialised members in <regex> once its own checks are woven in.
  add_compile_options(-O1 -g1 -fsanitize=address,undefined -fno-sanitize-recover=all
                      -Wno-maybe-uninitialized)
  add_link_options(-fsanitize=address,undefined)
  add_compile_definitions(LATENTD_POISON=1)
elseif(LATENTD_BUILD STREQUAL "tsan")
  add_compile_options(-O1 -g1 -fsanitize=thread -Wno-tsan)
  add_link_options(-fsanitize=thread)
  add_compile_definitions(LATENTD_POISON=1)
elseif(LATENTD_BUILD STREQUAL "fuzz")
  # Warnings are g++'s to make errors of; clang has others.
  add_compile_options(-O1 -g1 -fsanitize=fuzzer-no-link,address,undefined
                      -fno-sanitize-recover=undefined -Wno-error -Wno-unknown-warning-option)
  add_link_options(-fsanitize=address,undefined)
  add_compile_definitions(LATENTD_POISON=1)
else()
  message(FATAL_ERROR "LATENTD_BUILD is release, asan, tsan, fuzz or aarch64, not '${LATENTD_BUILD}'")
endif()
find_program(LATENTD_MOLD mold)
if(LATENTD_MOLD AND NOT LATENTD_BUILD MATCHES "^(fuzz|aarch64)$")
  add_link_options(-fuse-ld=mold)
endif()

# latentd_in_batches(NAME)
# A sanitizer's build, or the fuzz targets', includes a target's files one after the other, eight at a time, and
# compiles them in about half of the time: most of it goes into templates that they share. A file whose local names are
# another's too is left out of that by its property SKIP_UNITY_BUILD_INCLUSION.
function(latentd_in_batches name)
  if(LATENTD_BUILD MATCHES "^(asan|tsan|fuzz)$")
    set_target_properties(${name} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 8)
    target_compile_options(${name} PRIVATE -Wno-subobject-linkage)  # takes what is included for a header
  endif()
endfunction()

# latentd_library(NAME SOURCES a.cc ... DEPS target ...)
# One folder, one target: its sources are listed, and it sees only what it declares.
function(latentd_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS" ${ARGN})
  add_library(${name} STATIC ${ARG_SOURCES})
  latentd_in_batches(${name})
  target_include_directories(${name} PUBLIC ${CMAKE_SOURCE_DIR})
  target_link_libraries(${name} PUBLIC ${ARG_DEPS} Threads::Threads)
endfunction()

# latentd_test(NAME [LIGHT] SOURCES a.cc ... DEPS target ... LABELS unit|slow ...)
# A Catch2 program, run whole by ctest. The timeout is for programs that hang, under a sanitizer on a
# busy machine too: no test comes near it. LIGHT: its own files compute little, and a sanitizer's build
# compiles them in two thirds of the time instead, which is minutes.
function(latentd_test name)
  cmake_parse_arguments(ARG "LIGHT" "" "SOURCES;DEPS;LABELS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  latentd_in_batches(${name})
  if(ARG_LIGHT AND LATENTD_BUILD MATCHES "^(asan|tsan)$")
    target_compile_options(${name} PRIVATE -O0)
  endif()
  target_link_libraries(${name} PRIVATE ${ARG_DEPS} latentd_catch_main)
  add_test(NAME ${name} COMMAND ${name} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  set_tests_properties(${name} PROPERTIES LABELS "${ARG_LABELS}" TIMEOUT 900)
endfunction()
