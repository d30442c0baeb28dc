"""What scripts/gpu-check and bench/gpu/run are told, refused before anything is run."""
import argparse
import pathlib
import tempfile

from gpu.programs import RESULTS


def seconds(text):
    number = float(text)
    if not number >= 0:  # nor nan
        raise ValueError
    return number


def refuse_unwritable(parser, path):
    """Makes its folder, tries to write there, and ends the command where that fails."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
        if path.is_dir():
            raise IsADirectoryError(None, "it is a folder")
    except OSError as why:
        parser.exit(2, f"{parser.prog}: {path} cannot be written: {why.strerror}\n")


def parse(command, doc, name):
    """command: as the user calls it; name: of the files that it leaves."""
    parser = argparse.ArgumentParser(prog=command, description=doc,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binaries", metavar="DIR",
                        help="folder of programs, taken as they are [bin, else build/cuda]")
    parser.add_argument("--out", metavar="DIR", type=pathlib.Path, default=RESULTS,
                        help="where the results go [build/gpu-results]")
    parser.add_argument("--state", metavar="FILE", type=pathlib.Path, default=RESULTS / f"{name}.state.json",
                        help=f"what is done so far [build/gpu-results/{name}.state.json]")
    parser.add_argument("--seconds", type=seconds, default=450, help="for all steps together [450]")
    parser.add_argument("--fresh", action="store_true", help="forget what was done before")
    args = parser.parse_args()
    for path in (args.out / f"{name}.md", args.out / f"{name}.json", args.state):
        refuse_unwritable(parser, path)
    return args
