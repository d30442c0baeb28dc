"""Trains the bundled demo model on a CPU for a given time.

    train.py CORPUS_DIR MODEL_DIR RUN_DIR --hours 1.5

MODEL_DIR holds the tokenizer's files; config.json and model.safetensors are written there at each
checkpoint. RUN_DIR keeps what a resumed run needs and the log (log.jsonl). The learning rate and the
window length are functions of the share of the time that has passed, so a slow machine trains on
fewer tokens but ends equally well annealed; a stopped run resumes with the time it had left.

Each worker is a process of one thread with its part of every batch; gradients are summed once a step.
On a machine that others use too this is several times faster than threads inside each operation, which
wait for the slowest of them thousands of times a step.
"""

import argparse
import ctypes
import json
import pathlib
import random
import signal
import time

import torch
import torch.distributed as dist
import torch.nn.functional as F
from safetensors.torch import save_file

from data import Corpus
from model import Config, LatentMla
from muon import Muon

WIDTHS_Q = [16, 32, 48, 64, 96]
WIDTHS_KV = [8, 16, 32, 48, 64]
CONFIG = {
    "architectures": ["LatentMlaForCausalLM"], "model_type": "latent_mla", "torch_dtype": "bfloat16",
    "vocab_size": 2048, "hidden_size": 192, "num_hidden_layers": 6, "num_attention_heads": 12,
    "num_key_value_heads": 12, "num_kv_groups": 4, "q_lora_rank": 96, "kv_lora_rank": 64,
    "qk_nope_head_dim": 16, "qk_rope_head_dim": 16, "v_head_dim": 32, "intermediate_size": 384,
    "hidden_act": "silu", "rms_norm_eps": 1e-6, "qk_norm": "blockwise", "qk_norm_eps": 1e-6,
    "qk_norm_before_rope": True, "rope_theta": 10000.0, "rope_interleave": True,
    "max_position_embeddings": 1024, "tie_word_embeddings": True, "attention_bias": False,
    "bos_token_id": 0, "eos_token_id": [1, 5],
    "elastic": {"q_lora_ranks": WIDTHS_Q, "kv_lora_ranks": WIDTHS_KV, "mlp": "4*max(q,kv)"},
}
TOKENS_PER_STEP = 4096
STAGES = [(0.45, 128), (0.75, 256), (0.88, 512), (1.01, 1024)]  # (share of the time until which, window length)
CHECKPOINT_SECONDS = 300
REPORT_SECONDS = 200


def keep_freed_memory():
    """Keeps glibc from giving freed tensors back: fresh pages for each one made a step 10 times slower."""
    libc = ctypes.CDLL(None)
    libc.mallopt(-4, 0)   # M_MMAP_MAX: no mapping of its own for a large block
    libc.mallopt(-1, -1)  # M_TRIM_THRESHOLD: never trim
    libc.mallopt(-2, 256 << 20)  # M_TOP_PAD


def new_model():
    model = LatentMla(Config(**{n: CONFIG[n] for n in Config.__dataclass_fields__}))
    for name, p in model.named_parameters():
        if "embed_tokens" in name:
            torch.nn.init.normal_(p, std=0.02)
        elif p.ndim == 2:
            torch.nn.init.normal_(p, std=0.5 * p.shape[1] ** -0.5)
            if "o_proj" in name or "down_proj" in name:
                p.data.mul_(0.1)
    return model


def optimizers(model):
    layers = [p for p in model.model.layers.parameters() if p.ndim == 2]
    chosen = set(map(id, layers))
    rest = [p for p in model.parameters() if id(p) not in chosen]
    return [Muon(layers, lr=0.012),
            torch.optim.AdamW(rest, lr=0.003, betas=(0.9, 0.95), weight_decay=0.0)]


def rate(progress, step):
    """Warm-up over 50 steps, level for 40 % of the time, then linear to zero."""
    return min(1.0, (step + 1) / 50, max(0.0, 1.0 - progress) / 0.6)


def distilled(model, inputs, teacher, w_q, w_kv, tokens):
    """Cross entropy of a width against the full width's distribution, summed over inputs / tokens."""
    student = F.log_softmax(model(inputs, w_q, w_kv), -1)
    return -(teacher * student).sum() / tokens


def sandwich_step(model, batch, rng, tokens):
    """Gradients of full width on all windows, of the smallest and of a random one on a quarter each.

    batch is this worker's part of a step of `tokens` tokens. Returns the means of its two first losses.
    """
    inputs, targets = batch[:, :-1], batch[:, 1:]
    logits = model(inputs)
    loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum") / tokens
    loss.backward()
    part = max(1, inputs.shape[0] // 4)
    first, second = slice(0, part), slice(part, 2 * part)
    teacher = F.softmax(logits.detach()[:2 * part], -1)
    random_width = rng.choice(WIDTHS_Q), rng.choice(WIDTHS_KV)
    # Weighted as if each had seen one half: what is saved is time, not the narrow widths' share.
    weight = inputs.shape[0] / (2 * part)
    small = distilled(model, inputs[first], teacher[first], WIDTHS_Q[0], WIDTHS_KV[0], tokens)
    (weight * small).backward()
    (weight * distilled(model, inputs[second], teacher[second], *random_width, tokens)).backward()
    return loss.item() * tokens / inputs.numel(), small.item() * tokens / inputs[first].numel()


def sum_gradients(model):
    """Sums every gradient over the workers, in one message."""
    gradients = [p.grad for p in model.parameters()]
    flat = torch.cat([g.flatten() for g in gradients])
    dist.all_reduce(flat)
    for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients])):
        gradient.copy_(part.view_as(gradient))


@torch.no_grad()
def held_out_loss(model, windows, w_q, w_kv):
    """Mean loss in nats a token over [n, length + 1] windows."""
    total = 0.0
    for rows in windows.split(8):
        logits = model(rows[:, :-1], w_q, w_kv)
        total += F.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten(), reduction="sum").item()
    return total / (windows.shape[0] * (windows.shape[1] - 1))


def save_model(model, folder):
    """config.json and model.safetensors in bf16; the tied head is not stored twice."""
    (folder / "config.json").write_text(json.dumps(CONFIG, indent=2) + "\n")
    state = {n: p.detach().to(torch.bfloat16).contiguous()
             for n, p in model.state_dict().items() if n != "lm_head.weight"}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


class Run:
    """The state that a checkpoint keeps."""

    def __init__(self, args, corpus):
        self.args, self.corpus = args, corpus
        self.generator = torch.Generator().manual_seed(args.seed)
        self.rng = random.Random(args.seed)
        torch.manual_seed(args.seed)
        self.model = new_model()
        self.optimizers = optimizers(self.model)
        self.base_rates = [o.param_groups[0]["lr"] for o in self.optimizers]
        self.step, self.tokens, self.elapsed = 0, 0, 0.0
        self.path = args.run / "state.pt"
        self.probe = corpus.held_out_windows(256)[::12]
        if self.path.exists():
            self.restore(torch.load(self.path, weights_only=False))

    def restore(self, state):
        self.model.load_state_dict(state["model"])
        for optimizer, values in zip(self.optimizers, state["optimizers"]):
            optimizer.load_state_dict(values)  # its rate is set anew at every step
        self.step, self.tokens, self.elapsed = state["step"], state["tokens"], state["elapsed"]
        self.generator.set_state(state["generator"])
        self.rng.setstate(state["rng"])

    def save(self):
        torch.save({"model": self.model.state_dict(), "step": self.step, "tokens": self.tokens,
                    "optimizers": [o.state_dict() for o in self.optimizers],
                    "elapsed": self.elapsed, "generator": self.generator.get_state(),
                    "rng": self.rng.getstate()}, self.path.with_suffix(".tmp"))
        self.path.with_suffix(".tmp").replace(self.path)
        save_model(self.model, self.args.model)

    def advance(self, budget):
        progress = self.elapsed / budget
        length = next(n for until, n in STAGES if progress < until)
        for optimizer, base in zip(self.optimizers, self.base_rates):
            optimizer.param_groups[0]["lr"] = base * rate(progress, self.step)
            optimizer.zero_grad()
        batch = self.corpus.batch(self.generator, TOKENS_PER_STEP // length, length)
        batch = batch[dist.get_rank()::dist.get_world_size()]  # all draw alike, each keeps its part
        losses = sandwich_step(self.model, batch, self.rng, TOKENS_PER_STEP)
        sum_gradients(self.model)
        for optimizer in self.optimizers:
            optimizer.step()
        self.step += 1
        self.tokens += TOKENS_PER_STEP
        return losses

    def report(self, losses):
        held_out = {f"{q}x{kv}": round(held_out_loss(self.model, self.probe, q, kv), 4)
                    for q, kv in ((96, 64), (48, 32), (16, 8))}
        line = json.dumps({"seconds": round(self.elapsed), "step": self.step, "tokens": self.tokens,
                           "train": round(losses[0], 4), "train_small": round(losses[1], 4),
                           "held_out": held_out})
        print(line, flush=True)
        with open(self.args.run / "log.jsonl", "a", encoding="utf-8") as log:
            log.write(line + "\n")


def work(rank, args):
    """One worker; rank 0 keeps the time, reports and saves, the others follow it step by step."""
    dist.init_process_group("gloo", init_method=f"file://{args.run.resolve()}/rendezvous", rank=rank,
                            world_size=args.workers)
    keep_freed_memory()
    torch.set_num_threads(1)
    stop = []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(True))
    signal.signal(signal.SIGINT, lambda *_: stop.append(True))

    run = Run(args, Corpus(args.corpus, args.model))
    budget, saved, reported, losses = args.hours * 3600, run.elapsed, -1e9, None
    last = time.monotonic()
    while True:
        now = time.monotonic()
        run.elapsed, last = run.elapsed + now - last, now
        state = torch.tensor([run.elapsed, len(stop)], dtype=torch.float64)
        dist.broadcast(state, 0)
        run.elapsed = float(state[0])
        if run.elapsed >= budget or state[1]:
            break
        losses = run.advance(budget)
        if rank == 0 and run.elapsed - reported > REPORT_SECONDS:
            run.report(losses)
            reported = run.elapsed
        if rank == 0 and (run.elapsed - saved > CHECKPOINT_SECONDS or run.step == 20):
            run.save()
            saved = run.elapsed
    if rank == 0 and losses:
        run.report(losses)
        run.save()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("corpus", type=pathlib.Path)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("run", type=pathlib.Path)
    parser.add_argument("--hours", type=float, default=1.5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    args.run.mkdir(parents=True, exist_ok=True)
    (args.run / "rendezvous").unlink(missing_ok=True)
    context = torch.multiprocessing.spawn(work, (args,), nprocs=args.workers, join=False)
    # A stop reaches rank 0, which tells the others at the next step.
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda number, _: context.processes[0].terminate())
    while not context.join():
        pass


if __name__ == "__main__":
    main()
