"""A server whose kernel nobody uses: it is culled, and another one is started for the same notebook.

    python culls.py LIBRARY SESSIONS      prints a JSON line: what cells of both kernels showed
"""
import asyncio
import json
import os
import sys

from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager

LIBRARY, SESSIONS = sys.argv[1:]


async def start(manager):
    environment = {**os.environ, "LD_PRELOAD": LIBRARY, "OOMGUARD_DIR": SESSIONS,
                   "JPY_SESSION_NAME": "work/idle.ipynb"}
    return await manager.start_kernel(kernel_name="python3", env=environment)


async def run(manager, kernel, code):
    client, shown = manager.get_kernel(kernel).client(), []
    client.start_channels()
    await client.wait_for_ready(timeout=60)
    await client.execute_interactive(code, timeout=60, output_hook=lambda message: shown.append(
        message["content"].get("text", message["content"].get("data", {}).get("text/plain", ""))))
    client.stop_channels()
    return "".join(shown)


async def main():
    culling = AsyncMappingKernelManager(cull_idle_timeout=3600, cull_interval=1,
                                        cull_connected=True)
    kernel = await start(culling)
    first = await run(culling, kernel, "import oomguard; oomguard.last_refusal() is None")
    culling.cull_idle_timeout = 1
    while kernel in culling:
        await asyncio.sleep(0.1)
    staying = AsyncMappingKernelManager()
    kernel = await start(staying)
    second = await run(staying, kernel, "1 + 1")
    await staying.shutdown_kernel(kernel, now=True)
    print(json.dumps([first, second]))


asyncio.run(main())
