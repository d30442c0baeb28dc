#!/usr/bin/env python3
"""Checks the direction of includes (architecture: server → engine → cache → kernels; down only).

Each folder may include itself and what its row lists. Besides: CUDA headers, and ours that include them
(.cuh), appear only under kernels/cuda/, in tests and benchmarks too, but for the files that call other libraries'
kernels (bench/gpu/peers/*.cu); protobuf and gRPC headers only under server/ (and tests), and the scheduler includes
neither model nor device. Prints every violation and exits 1 when there is one.
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
LAYERS = ["kernels", "cache", "engine", "server"]  # each sees itself and what stands before it
ABOVE = {"tests", "bench", "tools"}  # nothing that ships includes these
# Inside engine/: what a folder may include beside itself, kernels/ and cache/.
ENGINE = {
    "engine/text": [],
    "engine/sampling": [],
    "engine/scheduler": [],
    "engine/model": ["engine/scheduler/step_plan.h", "engine/executor.h"],
    "engine/cuda": ["engine/model", "engine/sampling", "engine/scheduler/step_plan.h", "engine/executor.h"],
    "engine/bench": ["engine/model", "engine/scheduler/step_plan.h", "engine/executor.h"],
    "engine": ["engine/scheduler", "engine/sampling", "engine/executor.h"],
}
INCLUDE = re.compile(r'^\s*#\s*include\s+(?:"([^"]+)"|<([^>]+)>)')
RPC = re.compile(r"^(grpc|grpcpp|google/protobuf|latentd/v1)/")
CUDA = re.compile(r"^(cuda|cublas|cute|cutlass|nccl|nv|cub/|thrust/|cooperative_groups|crt/|mma\.h"
                  r"|device_|vector_types|vector_functions|driver_types|sm_\d)|\.cuh$")


def folder(path):
    """The key of ENGINE or the top folder that a source file belongs to."""
    parts = path.split("/")
    if parts[0] == "engine" and len(parts) > 2:
        return "/".join(parts[:2])
    return parts[0]


def allowed(source, target):
    home, top = folder(source), target.split("/")[0]
    if top == "text":
        return home == "engine/text"
    if top not in LAYERS:
        return top not in ABOVE
    if home.startswith("engine") and top == "engine":
        return target.startswith(home + "/") and folder(target) == home or any(
            target == rule or target.startswith(rule + "/") for rule in ENGINE[home])
    return LAYERS.index(top) <= LAYERS.index(source.split("/")[0])


def main():
    problems = []
    for layer in LAYERS + sorted(ABOVE):
        for path in sorted((ROOT / layer).rglob("*")):
            if path.suffix not in {".h", ".cc", ".cu", ".cuh"}:
                continue
            source = path.relative_to(ROOT).as_posix()
            for number, line in enumerate(path.read_text().splitlines(), 1):
                match = INCLUDE.match(line)
                if not match:
                    continue
                target = match.group(1) or match.group(2)
                where = f"{source}:{number}: includes {target}"
                calls_peer = source.startswith("bench/gpu/peers/") and path.suffix == ".cu"
                if CUDA.search(target) and not source.startswith("kernels/cuda/") and not calls_peer:
                    problems.append(f"{where}: CUDA belongs to kernels/cuda/")
                elif layer in ABOVE:
                    continue
                elif RPC.match(target) and layer != "server":
                    problems.append(f"{where}: protobuf and gRPC belong to server/")
                elif match.group(1) and not RPC.match(target) and not allowed(source, target):
                    problems.append(f"{where}: points up or sideways")
    print("\n".join(problems) if problems else "include layers: clean")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
