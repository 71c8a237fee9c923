# SPDX-License-Identifier: MIT
# The sources of cli/, listed once: the program is made of them, and the man page made from it is
# out of date when one of them is newer.  All but main.c are a library, so that tests can link them.
cli_sources = \
	$(cli_library_sources) \
	%D%/main.c
cli_library_sources = \
	%D%/attached.c \
	%D%/attached.h \
	%D%/background.c \
	%D%/background.h \
	%D%/blocks.c \
	%D%/blocks.h \
	%D%/bridge_snapshots.c \
	%D%/bridge_snapshots.h \
	%D%/bridge_views.c \
	%D%/bridge_views.h \
	%D%/cmd_attach.c \
	%D%/cmd_check.c \
	%D%/cmd_compare.c \
	%D%/cmd_convert.c \
	%D%/cmd_create.c \
	%D%/cmd_detach.c \
	%D%/cmd_help.c \
	%D%/cmd_info.c \
	%D%/cmd_list.c \
	%D%/cmd_map.c \
	%D%/cmd_measure.c \
	%D%/cmd_mount.c \
	%D%/cmd_resize.c \
	%D%/cmd_snapshot.c \
	%D%/cmd_snapshot_list.c \
	%D%/cmd_umount.c \
	%D%/command.h \
	%D%/commands.c \
	%D%/commands.h \
	%D%/completion.c \
	%D%/convert.c \
	%D%/convert.h \
	%D%/convert_image.c \
	%D%/convert_raw.c \
	%D%/disk.c \
	%D%/disk.h \
	%D%/freeze.c \
	%D%/freeze.h \
	%D%/help.c \
	%D%/help.h \
	%D%/image_file.c \
	%D%/image_file.h \
	%D%/json_output.c \
	%D%/json_output.h \
	%D%/loop_device.c \
	%D%/loop_device.h \
	%D%/new_file.c \
	%D%/new_file.h \
	%D%/options.c \
	%D%/options.h \
	%D%/output.c \
	%D%/output.h \
	%D%/pod.c \
	%D%/progress.c \
	%D%/progress.h \
	%D%/serve.c \
	%D%/serve.h \
	%D%/size.c \
	%D%/size.h \
	%D%/snapshot_ops.c \
	%D%/snapshot_ops.h \
	%D%/snapshot_target.c \
	%D%/snapshot_target.h \
	%D%/suggest.c \
	%D%/suggest.h \
	%D%/terminal.c \
	%D%/terminal.h \
	%D%/view_log.c \
	%D%/view_log.h \
	%D%/workers.c \
	%D%/workers.h
