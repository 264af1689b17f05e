"""What tests/gpu/run.sh checks, a line each, and how each is judged."""
import dataclasses

GIB = 1 << 30
BUDGET = 20 * GIB
NEIGHBOUR = 40 * 10**9
KEPT_FREE = 32 << 20  # the least that a guarded program leaves of the card
TOLERANCE = 1.01


@dataclasses.dataclass
class Case:
    name: str
    part: str
    module: str = ""           # what has to be installed
    budget: str = ""           # of the card; empty: not guarded
    neighbour: bool = False    # another process holds 40 GB
    arguments: tuple = ()
    variables: dict = dataclasses.field(default_factory=dict)
    refused: bool = True       # ends in the framework's own exception
    judge_peak: bool = True


def fills(name, part, module, **variables):
    yield Case(f"{name}, bare", part, module, variables=variables)
    yield Case(f"{name}, 20G", part, module, "20G", variables=variables)
    yield Case(f"{name}, auto beside 40 GB", part, module, "auto", True, variables=variables)


def all_cases(checkpoint):
    yield from fills("driver", "fill_driver.py", "")
    yield from fills("PyTorch", "fill_torch.py", "torch")
    # Without a word JAX takes three quarters of what it sees.
    yield from fills("JAX", "fill_jax.py", "jax", XLA_PYTHON_CLIENT_PREALLOCATE="false",
                     XLA_PYTHON_CLIENT_MEM_FRACTION=".99")
    yield from fills("CuPy", "fill_cupy.py", "cupy")
    yield from fills("Numba", "fill_numba.py", "numba")
    yield Case("JAX, preallocating, 20G", "fill_jax.py", "jax", "20G",
               variables={"XLA_PYTHON_CLIENT_MEM_FRACTION": ".95"})
    yield Case("PyTorch, expandable segments, 20G", "fill_torch.py", "torch", "20G",
               variables={"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"})
    yield Case("PyTorch, cudaMallocAsync, 20G", "fill_torch.py", "torch", "20G",
               variables={"PYTORCH_CUDA_ALLOC_CONF": "backend:cudaMallocAsync"})
    yield Case("PyTorch, graphs, 20G", "torch_graphs.py", "torch", "20G")
    yield Case("PyTorch, page-locked, host budget 8G", "torch_pinned.py", "torch", "20G",
               variables={"OOMGUARD_BUDGET": "8G"}, judge_peak=False)
    yield Case("19.1 B parameters, 20G", "load_model.py", "transformers", "20G",
               arguments=(checkpoint, "to"))
    yield Case('19.1 B parameters, device_map="auto", 20G', "load_model.py", "accelerate", "20G",
               arguments=(checkpoint, "auto"), refused=False)


def complaints(case, result, peak, free_before):
    """What is wrong with a run: `result` is the part's, or None where it did not live to tell;
    `peak` has before, most_used and least_free of the card."""
    if result is None:
        return ["did not live to tell"]
    wrong = []
    if case.refused and not result["own"]:
        wrong.append(f"ended with {result['exception']}, not the framework's own")
    if not case.refused and result["exception"]:
        wrong.append(f"ended with {result['exception']}")
    if not result["reused"]:
        wrong.append("its memory was of no use afterwards")
    grown = peak.most_used - peak.before
    if case.budget == "20G" and case.judge_peak:
        if grown > BUDGET * TOLERANCE:
            wrong.append("over the budget")
        if case.refused and result["taken"] and grown < BUDGET * 0.9:
            wrong.append("refused long before the budget")
    if case.budget == "auto":
        if peak.least_free < KEPT_FREE:
            wrong.append("nothing was left of the card")
        if grown < free_before * 0.9:
            wrong.append("refused long before the card was full")
    return wrong
