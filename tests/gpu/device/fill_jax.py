"""Fills the card by JAX (XLA_PYTHON_CLIENT_PREALLOCATE says whether at once)."""
import jax
import jax.numpy as jnp
from filling import fill


def main():
    fill(lambda size: jnp.ones((size,), dtype=jnp.uint8).block_until_ready(),
         lambda error: "RESOURCE_EXHAUSTED" in str(error), lambda: None,
         lambda blocks: sum(block.size for block in blocks
                            if int(block[-1]) == 1 and block.devices() == {jax.devices()[0]}))


main()
