"""Muon (momentum, orthogonalised by Newton-Schulz) for the matrices of the layers."""

import torch
import torch.distributed as dist


def orthogonalise(g):
    """Nearest semi-orthogonal matrix, roughly: singular values end in about 0.7 to 1.2. g [n, rows, cols].

    The quintic's coefficients are the usual ones of the method's author: steepest slope at zero for
    which five rounds keep every singular value in that range.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = g.shape[-2] > g.shape[-1]
    x = g.mT if tall else g
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(5):
        s = x @ x.mT
        x = a * x + (b * s + c * s @ s) @ x
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Matrices of one shape are stepped as one batch, each by one of the workers, which see the same
    gradients. lr is the step's spectral norm before the shape factor sqrt(max(1, rows / cols))."""

    def __init__(self, params, lr, momentum=0.95):
        super().__init__(list(params), {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            shapes = {}
            for p in group["params"]:
                shapes.setdefault(p.shape, []).append(p)
            for shape, params in shapes.items():
                directions = []
                for p in params:
                    momentum = self.state[p].setdefault("momentum", torch.zeros_like(p))
                    momentum.lerp_(p.grad, 1 - group["momentum"])
                    directions.append(p.grad.lerp(momentum, group["momentum"]))
                scale = max(1, shape[0] / shape[1]) ** 0.5
                directions = torch.stack(directions)
                steps = torch.zeros_like(directions)
                mine = slice(dist.get_rank(), None, dist.get_world_size())
                steps[mine] = orthogonalise(directions[mine])
                dist.all_reduce(steps)
                for p, step in zip(params, steps):
                    p.sub_(step, alpha=group["lr"] * scale)
