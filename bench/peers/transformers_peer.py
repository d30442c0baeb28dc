"""transformers as a contestant: this file run by another interpreter, one that has torch.

    transformers_peer.py FOLDER THREADS NEW DEPTH decode|prefill      prints tokens/s
"""

import pathlib
import sys
import time

from llama_cpp import output

CHUNK = 512  # prompt tokens at a time on the way to a depth
SAMPLES = 3


class Transformers:
    name = "transformers"

    def __init__(self, python, model, threads):
        self.python, self.model, self.threads = python, model, threads

    def single_command(self, new, depth, kind):
        return [self.python, pathlib.Path(__file__).relative_to(pathlib.Path.cwd()), self.model, self.threads,
                new, depth, kind]

    def single(self, new, depth, kind):
        return {"tokens_per_second": float(output(list(map(str, self.single_command(new, depth, kind)))))}

    def kept_command(self, new, depth):
        return self.single_command(new, depth, "decode")

    def kept(self, new, depth):
        return self.single(new, depth, "decode")

    def release(self):
        """Nothing is kept."""


def main(folder, threads, new, depth, kind):
    import torch
    import transformers
    torch.set_num_threads(threads)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).eval()
    ids = torch.randint(262, model.config.vocab_size, (1, max(new, CHUNK)))

    def forward(count, cache):
        return model(ids[:, :count], past_key_values=cache, use_cache=True, logits_to_keep=1).past_key_values

    with torch.inference_mode():
        cache, filled = transformers.DynamicCache(), 0
        while filled < depth:
            cache = forward(min(CHUNK, depth - filled), cache)
            filled = cache.get_seq_length()
        seconds = []
        for _ in range(SAMPLES + 1):  # the first is a warm-up
            begin = time.perf_counter()
            for _ in range(new if kind == "decode" else 1):
                cache = forward(1 if kind == "decode" else new, cache)
            seconds.append(time.perf_counter() - begin)
            cache.crop(depth - cache.get_seq_length())
    print(new / sorted(seconds[1:])[SAMPLES // 2])


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:5]), sys.argv[5])
