# Cross-compiles for AArch64 with Debian's compiler; tests run under qemu's user emulation.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(CMAKE_CROSSCOMPILING_EMULATOR
    qemu-aarch64-static -L /usr/aarch64-linux-gnu -cpu max,sve256=on)  # the sve path's vectors
# Catch2 is one header; the rest of /usr/include is this machine's.
file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/include)
file(CREATE_LINK /usr/include/catch2 ${CMAKE_BINARY_DIR}/include/catch2 SYMBOLIC)
include_directories(SYSTEM ${CMAKE_BINARY_DIR}/include)
