"""What a row of latentd_gpu_bench says of the kernel: lines of the table, from its JSON."""
import statistics

COPY_GOAL = 0.88    # of the measured copy bandwidth, where memory is the bound
MATRIX_GOAL = 0.85  # of the measured bf16 matrix rate, where the products are
SMALL_GOAL_US = {"H200": 25, "H100": 35}  # one sequence of 64k tokens
KEY_NORM_GOAL_PERCENT = {1: 1, 4: 2, 16: 1 + 100 * 4 * 16 / 1152}  # by G; of 16, beyond its alphas beside a row's bytes
# QK-Normed MLA, arXiv 2606.16310, on H800: 16 heads, batch 4, with projections, per-head groups.
PUBLISHED_KEY_NORM_PERCENT = {4096: 1.41, 32768: 1.03, 131072: 1.66, 262144: 1.46}


def ceiling(report, name):
    return statistics.mean(measured[name] for measured in report["ceilings"])


def share(report, case):
    """(of the copy bandwidth, of the matrix rate)"""
    seconds = case["median_seconds"]
    return (case["floor_bytes"] / seconds / ceiling(report, "copy_bytes_per_second"),
            case["floor_flops"] / seconds / ceiling(report, "flops_per_second"))


def microseconds(case):
    return (f"{case['median_seconds'] * 1e6:.1f} us (p10 {case['p10_seconds'] * 1e6:.1f}, "
            f"p90 {case['p90_seconds'] * 1e6:.1f})")


def met(good):
    return "met" if good else "missed"


def overhead_percent(off, on):
    """Of the pairs: each round of one beside the same round of the other."""
    return 100 * (statistics.median(b / a for a, b in zip(off["seconds"], on["seconds"])) - 1)


def beside(row, peer):
    """The name of a row in which a peer takes turns with ours."""
    return f"{row}, beside {peer}"


def judge_peer(report, peer):
    """Ours over theirs, each round beside the peer's in the same turn; ahead is below 1."""
    ours, theirs = report["cases"]
    ratios = [a / b for a, b in zip(ours["seconds"], theirs["seconds"], strict=True)]
    ratio = statistics.median(ratios)
    apart = f"{100 * (1 - ratio):.1f} % ahead" if ratio < 1 else f"{100 * (ratio - 1):.1f} % behind"
    return [beside(report["row"], peer),
            f"{ratio:.3f} of its time ({min(ratios):.3f} to {max(ratios):.3f}), {apart}: "
            f"{ours['median_seconds'] * 1e6:.1f} us, it {theirs['median_seconds'] * 1e6:.1f} us",
            f"ahead of {report['peer']}", met(ratio < 1)]


def has_goal(row):
    """By its name: the others show what a choice of ours gains, or the attention of a layer."""
    return row.startswith(("decode ", "key norm "))


def judge(report):
    """[row, measured, goal, met | missed | -]"""
    name, cases = report["row"], report["cases"]
    if len(cases) == 2:
        percent = overhead_percent(*cases)
        measured = (f"{percent:+.2f} % ({cases[0]['median_seconds'] * 1e6:.1f} -> "
                    f"{cases[1]['median_seconds'] * 1e6:.1f} us)")
        groups = cases[1]["num_kv_groups"]
        if groups == 0:
            return [name, measured, "-", "-"]
        goal, published = KEY_NORM_GOAL_PERCENT[groups], PUBLISHED_KEY_NORM_PERCENT[cases[1]["context"]]
        return [name, measured, f"<= {goal:.3g} % (published: {published} % for G 16, with projections)",
                met(percent <= goal)]
    case = cases[0]
    memory, matrix = share(report, case)
    measured = f"{microseconds(case)}, {100 * memory:.0f} % of copy, {100 * matrix:.0f} % of matrix rate"
    if case["batch"] >= 64 and case["num_heads"] * case["query_tokens"] <= 64:
        return [name, measured, f">= {100 * COPY_GOAL:.0f} % of copy", met(memory >= COPY_GOAL)]
    if case["batch"] >= 64:
        return [name, measured, f">= {100 * MATRIX_GOAL:.0f} % of matrix rate", met(matrix >= MATRIX_GOAL)]
    chip = next((chip for chip in SMALL_GOAL_US if chip in report["device"]), None)
    if case["batch"] == 1 and chip:
        goal = SMALL_GOAL_US[chip]
        return [name, measured, f"<= {goal} us on {chip}", met(case["median_seconds"] * 1e6 <= goal)]
    return [name, measured, "-", "-"]
