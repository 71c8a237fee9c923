# SPDX-License-Identifier: MIT
# The sources of bridge/, listed once.
bridge_sources = \
	%D%/block_devices.c \
	%D%/block_devices.h \
	%D%/bridge.c \
	%D%/bridge.h \
	%D%/bridge_info.c \
	%D%/bridge_info.h \
	%D%/bridge_priv.h \
	%D%/client.c \
	%D%/client.h \
	%D%/control.c \
	%D%/control.h \
	%D%/control_link.c \
	%D%/control_link.h \
	%D%/daemon.c \
	%D%/daemon.h \
	%D%/dead_device.c \
	%D%/dead_device.h \
	%D%/device.h \
	%D%/in_use.c \
	%D%/in_use.h \
	%D%/log_sink.c \
	%D%/log_sink.h \
	%D%/message.c \
	%D%/message.h \
	%D%/mode.c \
	%D%/mode.h \
	%D%/params.c \
	%D%/params.h \
	%D%/process.c \
	%D%/process.h \
	%D%/queue.c \
	%D%/queue.h \
	%D%/report.c \
	%D%/report.h \
	%D%/runtime_dir.c \
	%D%/runtime_dir.h \
	%D%/socket.c \
	%D%/socket.h \
	%D%/state_file.c \
	%D%/state_file.h \
	%D%/ublk_abi.h \
	%D%/ublk_device.c \
	%D%/ublk_device.h
