"""Goldens as files: written, and compared with those of another run."""

import filecmp
import gzip
import json

TOLERANCE = 1e-4


def write_json(path, value, compressed):
    data = (json.dumps(value, ensure_ascii=False, indent=None if compressed else 1)).encode() + b"\n"
    path.write_bytes(gzip.compress(data, mtime=0) if compressed else data)


def numbers(value):
    """All numbers and strings of a JSON value, flat, for comparison."""
    if isinstance(value, dict):
        return [x for k in value if not k.startswith("bf16") for x in [k] + numbers(value[k])]
    if isinstance(value, list):
        return [x for item in value for x in numbers(item)]
    return [value]


def same_goldens(left, right):
    read = lambda p: json.loads(gzip.decompress(p.read_bytes()) if p.suffix == ".gz"
                                else p.read_bytes())
    a, b = numbers(read(left)), numbers(read(right))
    return len(a) == len(b) and all(
        abs(x - y) <= TOLERANCE if isinstance(x, float) and isinstance(y, float) else x == y
        for x, y in zip(a, b))


def check(made, kept, all_made):
    """What is wrong with the kept files, a line each. all_made: there is no other golden to keep."""
    bad = []
    for path in sorted(p for p in made.rglob("*") if p.is_file()):
        other = kept / path.relative_to(made)
        goldens = path.parent == made
        if not other.exists() or not (same_goldens(path, other) if goldens
                                      else filecmp.cmp(path, other, shallow=False)):
            bad.append(f"differs: {other}")
    if all_made:
        bad += [f"not made by anything: {path}" for path in sorted(kept.rglob("*"))
                if path.is_file() and path.name != "README.md"
                and not (made / path.relative_to(kept)).exists()]
    return bad
