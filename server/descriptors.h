// File descriptors of the process, of which each connection takes one.
#pragma once

namespace latentd {

// How many of `wanted` HTTP connections can be open at once, those being turned away and room for
// gRPC's connections and files left aside. Raises the process's soft limit of open files towards
// what all of them need, up to the hard limit. >= 1. Before the doors open.
int FitConnections(int wanted);

}  // namespace latentd
