"""Starts Jupyter kernels guarded by oomguard, and keeps how they ended.

Runs in the Jupyter server. Both is the `oomguard` command's work: it says which environment
variables guard a program, and puts the exit status, which nobody else keeps, into the kernel's
session. Where it is missing or fails, the server logs one line and the kernel starts as any other.
"""

import asyncio
import json
import os
import signal
import subprocess

from jupyter_client.provisioning import LocalProvisioner
from traitlets import List, Unicode

TIME_LIMIT_S = 10


class OomguardProvisioner(LocalProvisioner):
    command = Unicode("oomguard", config=True, help="The oomguard command: a path, or found in PATH.")
    options = List(Unicode(), config=True, help='As of `oomguard env`: ["--budget=80%"].')

    environment = None  # of the kernel, without the library; None where it is not guarded
    is_wanted = False   # its end, by whoever uses this provisioner

    async def pre_launch(self, **kwargs):
        kwargs = await super().pre_launch(**kwargs)
        await self.guard(kwargs["env"])
        return kwargs

    async def guard(self, environment):
        """Puts the library and the options into the environment, or logs why not."""
        preload = environment.get("LD_PRELOAD", "")
        self.environment, self.is_wanted = without_library(environment), False
        if "liboomguard.so" in preload:
            return  # the kernelspec has it
        try:
            asked = await self.ask(self.environment, "env", "--format", "json", *self.options)
            variables = json.loads(asked)
            library = variables.pop("LD_PRELOAD")
        except Exception as error:
            self.environment = None
            self.log.warning("oomguard: this kernel is not guarded: %s", error)
            return
        environment.update(variables)
        environment["LD_PRELOAD"] = ":".join(filter(None, (library, preload)))
        self.environment.update(variables)

    async def poll(self):
        status = await super().poll()
        environment = self.environment
        if status is not None and self.process is not None and environment is not None:
            self.environment = None  # once
            how = ("--signal", str(-status)) if status < 0 else ("--status", str(status))
            asked = ("--asked",) if self.is_wanted else ()
            try:
                pid = str(self.process.pid)
                await self.ask(environment, "sessions", "ended", pid, *how, *asked)
            except Exception as error:  # it recorded nothing, or is no Python
                self.log.debug("oomguard: how the kernel ended is not kept: %s", error)
        return status

    async def send_signal(self, signum):
        if signum != signal.SIGINT and self.process is not None and self.process.poll() is None:
            self.is_wanted = True
        await super().send_signal(signum)

    async def ask(self, environment, *arguments):
        """The command's output."""
        done = await asyncio.to_thread(
            subprocess.run,
            [self.command, *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIME_LIMIT_S,
        )
        if done.returncode != 0:
            raise OSError(done.stderr.strip())
        return done.stdout


def without_library(environment):
    kept = {name: value for name, value in environment.items() if name != "LD_PRELOAD"}
    kept.setdefault("PATH", os.environ.get("PATH", os.defpath))
    return kept
