"""Where the peers' sources come from, and that they are the ones that were tried. Nothing of them is kept in git."""
import hashlib
import pathlib
import shutil
import subprocess
import sys
import zipfile

# FlashInfer's wheel has its CUDA headers, CUTLASS 4.5.0 and CUDA's C++ core libraries (CCCL).
WHEEL = "flashinfer_python-0.7.2.post1-py3-none-any.whl"
WHEEL_SHA256 = "bfdc18b9e1e4d8d0730fe4343dc0e284cd0c160086de80f99888bc4867922d49"
FLASHINFER_NAME = "FlashInfer 0.7.2.post1, MLA for Hopper (fa3)"
DATA = "flashinfer/data"
UNPACKED = [f"{DATA}/include/", f"{DATA}/cutlass/include/", f"{DATA}/cccl/libcudacxx/include/", f"{DATA}/cccl/cub/cub/",
            f"{DATA}/cccl/thrust/thrust/"]
# FlashMLA: the user has its sources. The commit that was tried, by the digest of
# what is compiled of it.
FLASHMLA_COMMIT = "9241ae3"
FLASHMLA_SHA256 = "e3cb2c4e6362bfcfe3b66e4df58b3af7dcc5a165ce12f908da18b14d7220105d"
FLASHMLA_FILES = ["csrc/sm90/decode/dense", "csrc/smxx/decode/combine", "csrc/smxx/decode/get_decoding_sched_meta",
                  "csrc/kerutils/include", "csrc/params.h", "csrc/utils.h", "csrc/defines.h"]


class Missing(Exception):
    """Why a peer's sources are not there, in a sentence."""


def digest_of_file(path):
    total = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            total.update(piece)
    return total.hexdigest()


def digest_of_sources(folder):
    """Of the names and bytes of FLASHMLA_FILES and what lies below them."""
    total = hashlib.sha256()
    for name in FLASHMLA_FILES:
        found = folder / name
        if not found.exists():
            raise Missing(f"{folder} holds no {name}")
        for path in [found] if found.is_file() else sorted(p for p in found.rglob("*") if p.is_file()):
            total.update(f"{path.relative_to(folder).as_posix()} {digest_of_file(path)}\n".encode())
    return total.hexdigest()


def fetch_wheel(cache):
    """The wheel in the cache, fetched with pip if it is not there."""
    wheel = cache / WHEEL
    if not wheel.exists():
        name, version = WHEEL.split("-")[:2]
        done = subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps",
                               "--only-binary", ":all:", "-d", cache, f"{name}=={version}"], check=False,
                              stderr=subprocess.PIPE, text=True)
        if done.returncode != 0 or not wheel.exists():
            said = (done.stderr.strip().splitlines() or ["no word"])[-1]
            raise Missing(f"pip could not fetch {name} {version} ({said}); --flashinfer-wheel names a file")
    return wheel


def check_wheel(wheel):
    if not wheel.is_file():
        raise Missing(f"{wheel} is no file")
    if (found := digest_of_file(wheel)) != WHEEL_SHA256:
        raise Missing(f"{wheel} has the SHA-256 {found}, not {WHEEL_SHA256}")


def flashinfer(cache, wheel=None):
    """(folder of flashinfer/data, name for reports). Unpacks once; a wheel of another digest is refused."""
    folder = cache / f"flashinfer-{WHEEL_SHA256[:12]}"
    if wheel:
        check_wheel(wheel)
    if not (folder / "complete").exists():
        wheel = wheel or fetch_wheel(cache)
        check_wheel(wheel)
        shutil.rmtree(folder, ignore_errors=True)
        with zipfile.ZipFile(wheel) as packed:
            packed.extractall(folder, [name for name in packed.namelist() if name.startswith(tuple(UNPACKED))])
        (folder / "complete").touch()
    return folder / DATA, FLASHINFER_NAME


def flashmla(folder):
    """(folder, name for reports, which says whether these are the sources that were tried)."""
    if not folder.is_dir():
        raise Missing(f"{folder} is no folder; --flashmla-source names one with a checkout of FlashMLA")
    found = digest_of_sources(folder)
    sources = f"commit {FLASHMLA_COMMIT}" if found == FLASHMLA_SHA256 else f"other sources, SHA-256 {found[:12]}"
    return folder, f"FlashMLA, {sources}, dense decode for sm90, CUTLASS 4.5.0"
