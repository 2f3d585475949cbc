"""A disk whose power can be cut: ext4 in a file, stopped by the kernel so that nothing unsynced is written."""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# From the kernel's fs/ext4/ext4.h: EXT4_IOC_SHUTDOWN, and the flag that keeps the journal from being flushed.
_SHUTDOWN = 0x8004587D
_NO_LOG_FLUSH = 2
_IMAGE_BYTES = 64 << 20
_PROGRAMS = ("mkfs.ext4", "mount", "umount", "losetup")


class Disk:
    """An image and the folder where it is mounted.

    Args:
        folder: holds both; `folder/base.img` is what `reset` returns to.
    """

    def __init__(self, folder: Path) -> None:
        self.root = folder / "mounted"
        self._image, self._base = folder / "disk.img", folder / "base.img"
        self.root.mkdir(parents=True)

    def format(self) -> None:
        """Make an empty file system and mount it."""
        with self._image.open("wb") as file:
            file.truncate(_IMAGE_BYTES)
        _run("mkfs.ext4", "-q", "-F", str(self._image))
        self.mount()

    def mount(self) -> None:
        """Mount the image; the file system's own journal is replayed."""
        _run("mount", "-o", "loop", str(self._image), str(self.root))

    def unmount(self) -> None:
        """Unmount the image."""
        _run("umount", str(self.root))

    def keep(self) -> None:
        """Remember the present state as the one to reset to."""
        self.unmount()
        shutil.copyfile(self._image, self._base)
        self.mount()

    def reset(self) -> None:
        """Return to what was kept."""
        self.unmount()
        shutil.copyfile(self._base, self._image)
        self.mount()

    def cut(self) -> None:
        """Stop the file system at once: what was not synced is gone."""
        descriptor = os.open(self.root, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, _SHUTDOWN, struct.pack("I", _NO_LOG_FLUSH))
        finally:
            os.close(descriptor)

    def remove(self) -> None:
        """Unmount by all means, and let go of the loop device."""
        if self.root.is_mount():
            subprocess.run(["umount", "-l", str(self.root)], check=False, capture_output=True)
        attached = subprocess.run(["losetup", "-j", str(self._image)], check=False, capture_output=True, text=True)
        for line in attached.stdout.splitlines():
            subprocess.run(["losetup", "-d", line.split(":", 1)[0]], check=False, capture_output=True)


@contextmanager
def disk(folder: Path) -> Iterator[Disk]:
    """Make a disk for a block; whatever happens, nothing stays mounted."""
    made = Disk(folder)
    try:
        made.format()
        yield made
    finally:
        made.remove()


def reason_not_to_run(folder: Path) -> str | None:
    """Tell why no power can be cut here; None if it can."""
    if sys.platform != "linux":
        return f"ext4 is a file system of Linux; this is {sys.platform}"
    if os.geteuid() != 0:
        return "only root may mount"
    absent = [program for program in _PROGRAMS if shutil.which(program) is None]
    if absent:
        return f"not installed: {', '.join(absent)}"
    try:
        with disk(folder / "probe") as probe:
            (probe.root / "unsynced").write_text("lost")
            probe.cut()
            probe.unmount()
            probe.mount()
            is_lost = not (probe.root / "unsynced").exists()
    except (OSError, RuntimeError) as error:
        return str(error)
    return None if is_lost else "a cut here loses nothing, so it would prove nothing"


def _run(*command: str) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip() or f'exit status {done.returncode}'}")
