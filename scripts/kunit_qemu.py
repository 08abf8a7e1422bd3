# SPDX-License-Identifier: GPL-2.0
"""The x86_64 kernel of the kselftests for kunit.py, on the machine of guest.sh."""

from ..qemu_config import QemuArchParams

QEMU_ARCH = QemuArchParams(
    linux_arch='x86_64',
    kconfig='',
    qemu_arch='x86_64',
    kernel_path='vmlinux',
    # The timer works, but the kernel's check of it fails on a busy host.
    kernel_command_line='console=ttyS0 no_timer_check',
    extra_qemu_params=['-machine', 'pc,acpi=off', '-cpu', 'max'])
