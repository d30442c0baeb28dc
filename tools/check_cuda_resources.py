#!/usr/bin/env python3
"""Compares what the CUDA compiler reports of each kernel with kernels/cuda/resources.txt.

    python3 tools/check_cuda_resources.py BUILD_DIR    e.g. build/cuda, after `scripts/build cuda`

Fails when a kernel spills or keeps a stack frame, needs more registers or static shared memory than its
row allows, or not just the registers that it hands over ("=168"), is missing from the table or from the
build, or when the compiler says that it serialises wgmma. (Dynamic shared memory is asserted where
kernels are launched: mla_decode.cu, mla_swapped.cu, matrix_linear.cu.)
"""
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
ENTRY = re.compile(r"Compiling entry function '(\S+)' for '(\S+)'")
STACK = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
USED = re.compile(r"Used (\d+) registers")
SHARED = re.compile(r"(\d+) bytes smem")
LOSS = re.compile(r".*(?:Potential Performance Loss|setmaxnreg ignored).*")


def short_name(symbol):
    """MlaDecodeKernel<8,2> of its mangled symbol, without namespaces and spaces."""
    plain = subprocess.run(["c++filt", symbol], capture_output=True, text=True, check=True).stdout
    name = re.search(r"(\w+(?:<[^()]*>)?)\(", plain).group(1)
    return re.sub(r"latentd::(cuda::)?|\s", "", name)


def read_reports(build):
    """{kernel: {registers, spills, shared}}, and the compiler's complaints."""
    kernels, complaints = {}, []
    for path in sorted(build.rglob("*.cu.o.report")):
        current = None
        for line in path.read_text().splitlines():
            if LOSS.match(line):
                complaints.append(line.strip())
            if match := ENTRY.search(line):
                current = kernels.setdefault(short_name(match.group(1)), {"shared": 0})
            elif match := STACK.search(line):
                if current is not None:
                    current["spills"] = sum(map(int, match.groups()))
            elif match := USED.search(line):
                if current is not None:
                    current["registers"] = int(match.group(1))
                    shared = SHARED.search(line)
                    current["shared"] = int(shared.group(1)) if shared else 0
    return kernels, complaints


def read_table(path):
    """{kernel: (registers, shared)}, words of lines "kernel registers shared"; # begins a comment."""
    rows = (line.split("#")[0].split() for line in path.read_text().splitlines())
    return {row[0]: (row[1], row[2]) for row in rows if row}


def compare(kernels, table):
    problems = [f"{name}: in the table but not built" for name in sorted(table.keys() - kernels)]
    for name, found in sorted(kernels.items()):
        if "spills" not in found or "registers" not in found:
            problems.append(f"{name}: the compiler's report is not understood")
        elif found["spills"]:
            problems.append(f"{name}: {found['spills']} bytes of stack frame and spills")
        elif name not in table:
            problems.append(f"{name}: not in the table ({found['registers']} registers, "
                            f"{found['shared']} bytes of shared memory)")
        else:
            for what, allowed in zip(("registers", "shared"), table[name]):
                most = int(allowed.lstrip("="))
                if found[what] > most or (allowed.startswith("=") and found[what] != most):
                    problems.append(f"{name}: {what} {found[what]}, allowed {allowed}")
    return problems


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    kernels, complaints = read_reports(pathlib.Path(sys.argv[1]))
    problems = complaints + compare(kernels, read_table(ROOT / "kernels/cuda/resources.txt"))
    print("\n".join(problems) if problems else f"cuda resources: {len(kernels)} kernels within the table")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
