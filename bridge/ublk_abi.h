/* SPDX-License-Identifier: MIT */
/*
 * The ublk driver's interface as far as the bridge uses it.  It stands here, and no system header
 * is used, because the headers of a distribution are older than the kernels that will run: a
 * feature is found by asking the running driver (UBLK_U_CMD_GET_FEATURES), never at compile time.
 *
 * Names are the kernel's (include/uapi/linux/ublk_cmd.h), so that its documentation
 * (Documentation/block/ublk.rst) can be read beside this; no logic here.  The asserts hold what the
 * running kernel relies on: the numbers of commands contain the sizes of structs.
 */
#ifndef BRIDGE_UBLK_ABI_H
#define BRIDGE_UBLK_ABI_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>

#define UBLK_CONTROL_PATH "/dev/ublk-control"

/* Feature bits: the answer of GET_FEATURES, and ublksrv_ctrl_dev_info.flags. ------------------- */

#define UBLK_F_SUPPORT_ZERO_COPY      (1ull << 0) /* 6.15: REGISTER_IO_BUF */
#define UBLK_F_URING_CMD_COMP_IN_TASK (1ull << 1)
#define UBLK_F_NEED_GET_DATA	      (1ull << 2)
#define UBLK_F_USER_RECOVERY	      (1ull << 3)
#define UBLK_F_USER_RECOVERY_REISSUE  (1ull << 4)
#define UBLK_F_UNPRIVILEGED_DEV	      (1ull << 5)
#define UBLK_F_CMD_IOCTL_ENCODE	      (1ull << 6) /* 6.4: commands are numbered as ioctls */
#define UBLK_F_USER_COPY	      (1ull << 7) /* 6.5: pread and pwrite on /dev/ublkcN */
#define UBLK_F_ZONED		      (1ull << 8)
#define UBLK_F_USER_RECOVERY_FAIL_IO  (1ull << 9)
#define UBLK_F_UPDATE_SIZE	      (1ull << 10) /* 6.16 */
#define UBLK_F_AUTO_BUF_REG	      (1ull << 11) /* 6.16: buffers registered with the fetch */
#define UBLK_F_QUIESCE		      (1ull << 12)
#define UBLK_F_PER_IO_DAEMON	      (1ull << 13)
#define UBLK_F_BUF_REG_OFF_DAEMON     (1ull << 14)
#define UBLK_F_BATCH_IO		      (1ull << 15)
#define UBLK_F_INTEGRITY	      (1ull << 16)
#define UBLK_F_SAFE_STOP_DEV	      (1ull << 17) /* TRY_STOP_DEV */
#define UBLK_F_NO_AUTO_PART_SCAN      (1ull << 18)
#define UBLK_F_SHMEM_ZC		      (1ull << 19)
#define UBLK_F_IO_DESC_SIZE	      (1ull << 20)

#define UBLK_FEATURES_LEN 8 /* bytes that GET_FEATURES fills */

/* Control commands, in the 80 bytes behind an SQE of 128 on /dev/ublk-control. ------------------
 */

struct ublksrv_ctrl_cmd {
	uint32_t dev_id;       /* ADD_DEV: the id asked for, UINT32_MAX for any */
	uint16_t queue_id;     /* UINT16_MAX where the command is for no queue */
	uint16_t len;	       /* bytes at addr */
	uint64_t addr;	       /* of a buffer, in or out */
	uint64_t data[1];      /* a number, by command */
	uint16_t dev_path_len; /* unprivileged devices: the path that begins the buffer */
	uint16_t pad;
	uint32_t reserved;
};
_Static_assert(sizeof(struct ublksrv_ctrl_cmd) == 32, "part of command numbers");
_Static_assert(offsetof(struct ublksrv_ctrl_cmd, queue_id) == 4, "ctrl_cmd.queue_id");
_Static_assert(offsetof(struct ublksrv_ctrl_cmd, len) == 6, "ctrl_cmd.len");
_Static_assert(offsetof(struct ublksrv_ctrl_cmd, addr) == 8, "ctrl_cmd.addr");
_Static_assert(offsetof(struct ublksrv_ctrl_cmd, data) == 16, "ctrl_cmd.data");
_Static_assert(offsetof(struct ublksrv_ctrl_cmd, dev_path_len) == 24, "ctrl_cmd.dev_path_len");
_Static_assert(offsetof(struct ublksrv_ctrl_cmd, pad) == 26, "ctrl_cmd.pad");
_Static_assert(offsetof(struct ublksrv_ctrl_cmd, reserved) == 28, "ctrl_cmd.reserved");

#define UBLK_CTRL_R(nr)	 _IOR('u', nr, struct ublksrv_ctrl_cmd)
#define UBLK_CTRL_RW(nr) _IOWR('u', nr, struct ublksrv_ctrl_cmd)

#define UBLK_U_CMD_GET_QUEUE_AFFINITY  UBLK_CTRL_R(0x01)  /* addr: cpumask; data[0]: queue */
#define UBLK_U_CMD_GET_DEV_INFO	       UBLK_CTRL_R(0x02)  /* addr: ctrl_dev_info, out */
#define UBLK_U_CMD_ADD_DEV	       UBLK_CTRL_RW(0x04) /* addr: ctrl_dev_info, in and out */
#define UBLK_U_CMD_DEL_DEV	       UBLK_CTRL_RW(0x05) /* waits for every reference */
#define UBLK_U_CMD_START_DEV	       UBLK_CTRL_RW(0x06) /* data[0]: pid of the server */
#define UBLK_U_CMD_STOP_DEV	       UBLK_CTRL_RW(0x07)
#define UBLK_U_CMD_SET_PARAMS	       UBLK_CTRL_RW(0x08) /* addr: ublk_params */
#define UBLK_U_CMD_GET_PARAMS	       UBLK_CTRL_R(0x09)  /* addr: ublk_params, len set */
#define UBLK_U_CMD_START_USER_RECOVERY UBLK_CTRL_RW(0x10)
#define UBLK_U_CMD_END_USER_RECOVERY   UBLK_CTRL_RW(0x11) /* data[0]: pid of the server */
#define UBLK_U_CMD_GET_DEV_INFO2       UBLK_CTRL_R(0x12)
#define UBLK_U_CMD_GET_FEATURES	       UBLK_CTRL_R(0x13)  /* 6.5; addr: UBLK_FEATURES_LEN bytes */
#define UBLK_U_CMD_DEL_DEV_ASYNC       UBLK_CTRL_R(0x14)  /* 6.7; waits for nobody */
#define UBLK_U_CMD_UPDATE_SIZE	       UBLK_CTRL_RW(0x15) /* data[0]: sectors of 512 */
#define UBLK_U_CMD_QUIESCE_DEV	       UBLK_CTRL_RW(0x16)
#define UBLK_U_CMD_TRY_STOP_DEV	       UBLK_CTRL_RW(0x17) /* -EBUSY while somebody has it open */

/* ublksrv_ctrl_dev_info.state */
enum ublk_dev_state {
	UBLK_S_DEV_DEAD = 0,
	UBLK_S_DEV_LIVE = 1,
	UBLK_S_DEV_QUIESCED = 2,
	UBLK_S_DEV_FAIL_IO = 3,
};

struct ublksrv_ctrl_dev_info {
	uint16_t nr_hw_queues;
	uint16_t queue_depth;
	uint16_t state;		   /* enum ublk_dev_state */
	uint16_t io_desc_size;	   /* with IO_DESC_SIZE; 0 otherwise */
	uint32_t max_io_buf_bytes; /* of one request */
	uint32_t dev_id;
	int32_t ublksrv_pid;
	uint32_t pad1;
	uint64_t flags;		/* UBLK_F_*: asked for, and out: granted */
	uint64_t ublksrv_flags; /* the server's own; the driver only keeps them */
	uint32_t owner_uid;
	uint32_t owner_gid;
	uint64_t reserved1;
	uint64_t reserved2;
};
_Static_assert(sizeof(struct ublksrv_ctrl_dev_info) == 64, "ctrl_dev_info");
_Static_assert(offsetof(struct ublksrv_ctrl_dev_info, queue_depth) == 2, "dev_info.queue_depth");
_Static_assert(offsetof(struct ublksrv_ctrl_dev_info, state) == 4, "dev_info.state");
_Static_assert(offsetof(struct ublksrv_ctrl_dev_info, io_desc_size) == 6, "dev_info.desc");
_Static_assert(offsetof(struct ublksrv_ctrl_dev_info, max_io_buf_bytes) == 8, "dev_info.max_io");
_Static_assert(offsetof(struct ublksrv_ctrl_dev_info, dev_id) == 12, "dev_info.dev_id");
_Static_assert(offsetof(struct ublksrv_ctrl_dev_info, ublksrv_pid) == 16, "dev_info.pid");
_Static_assert(offsetof(struct ublksrv_ctrl_dev_info, pad1) == 20, "dev_info.pad1");
_Static_assert(offsetof(struct ublksrv_ctrl_dev_info, flags) == 24, "dev_info.flags");
_Static_assert(offsetof(struct ublksrv_ctrl_dev_info, ublksrv_flags) == 32, "dev_info.own");
_Static_assert(offsetof(struct ublksrv_ctrl_dev_info, owner_uid) == 40, "dev_info.owner_uid");
_Static_assert(offsetof(struct ublksrv_ctrl_dev_info, owner_gid) == 44, "dev_info.owner_gid");
_Static_assert(offsetof(struct ublksrv_ctrl_dev_info, reserved1) == 48, "dev_info.reserved1");
_Static_assert(offsetof(struct ublksrv_ctrl_dev_info, reserved2) == 56, "dev_info.reserved2");

/* Parameters of a device, SET_PARAMS. ------------------------------------------------------------
 */

/* ublk_param_basic.attrs */
#define UBLK_ATTR_READ_ONLY	 (1u << 0)
#define UBLK_ATTR_ROTATIONAL	 (1u << 1)
#define UBLK_ATTR_VOLATILE_CACHE (1u << 2)
#define UBLK_ATTR_FUA		 (1u << 3) /* without VOLATILE_CACHE it has no effect */

struct ublk_param_basic {
	uint32_t attrs;
	uint8_t logical_bs_shift;
	uint8_t physical_bs_shift;
	uint8_t io_opt_shift;
	uint8_t io_min_shift;
	uint32_t max_sectors; /* of one request; sectors are 512 bytes, here and below */
	uint32_t chunk_sectors;
	uint64_t dev_sectors;
	uint64_t virt_boundary_mask;
};
_Static_assert(sizeof(struct ublk_param_basic) == 32, "param_basic");
_Static_assert(offsetof(struct ublk_param_basic, logical_bs_shift) == 4, "basic.logical");
_Static_assert(offsetof(struct ublk_param_basic, physical_bs_shift) == 5, "basic.physical");
_Static_assert(offsetof(struct ublk_param_basic, io_opt_shift) == 6, "basic.io_opt");
_Static_assert(offsetof(struct ublk_param_basic, io_min_shift) == 7, "basic.io_min");
_Static_assert(offsetof(struct ublk_param_basic, max_sectors) == 8, "basic.max_sectors");
_Static_assert(offsetof(struct ublk_param_basic, chunk_sectors) == 12, "basic.chunk_sectors");
_Static_assert(offsetof(struct ublk_param_basic, dev_sectors) == 16, "basic.dev_sectors");
_Static_assert(offsetof(struct ublk_param_basic, virt_boundary_mask) == 24, "basic.boundary");

struct ublk_param_discard {
	uint32_t discard_alignment;   /* bytes */
	uint32_t discard_granularity; /* bytes */
	uint32_t max_discard_sectors;
	uint32_t max_write_zeroes_sectors;
	uint16_t max_discard_segments; /* the driver takes 1 only */
	uint16_t reserved0;
};
_Static_assert(sizeof(struct ublk_param_discard) == 20, "param_discard");
_Static_assert(offsetof(struct ublk_param_discard, discard_granularity) == 4, "discard.gran");
_Static_assert(offsetof(struct ublk_param_discard, max_discard_sectors) == 8, "discard.max");
_Static_assert(offsetof(struct ublk_param_discard, max_write_zeroes_sectors) == 12, "discard.wz");
_Static_assert(offsetof(struct ublk_param_discard, max_discard_segments) == 16, "discard.segs");
_Static_assert(offsetof(struct ublk_param_discard, reserved0) == 18, "discard.reserved0");

/* Out only: filled by GET_PARAMS once the device is started. */
struct ublk_param_devt {
	uint32_t char_major;
	uint32_t char_minor;
	uint32_t disk_major;
	uint32_t disk_minor;
};
_Static_assert(sizeof(struct ublk_param_devt) == 16, "param_devt");
_Static_assert(offsetof(struct ublk_param_devt, char_minor) == 4, "devt.char_minor");
_Static_assert(offsetof(struct ublk_param_devt, disk_major) == 8, "devt.disk_major");
_Static_assert(offsetof(struct ublk_param_devt, disk_minor) == 12, "devt.disk_minor");

struct ublk_param_zoned {
	uint32_t max_open_zones;
	uint32_t max_active_zones;
	uint32_t max_zone_append_sectors;
	uint8_t reserved[20];
};
_Static_assert(sizeof(struct ublk_param_zoned) == 32, "param_zoned");

/* 6.15.  Memory of a request is aligned to alignment + 1 bytes. */
struct ublk_param_dma_align {
	uint32_t alignment;
	uint8_t pad[4];
};
_Static_assert(sizeof(struct ublk_param_dma_align) == 8, "param_dma_align");

#define UBLK_MIN_SEGMENT_SIZE 4096

/* 6.15.  With UBLK_PARAM_TYPE_SEGMENT none of the three may be 0. */
struct ublk_param_segment {
	uint64_t seg_boundary_mask; /* + 1: a power of two, at least UBLK_MIN_SEGMENT_SIZE */
	uint32_t max_segment_size;  /* bytes, at least UBLK_MIN_SEGMENT_SIZE */
	uint16_t max_segments;
	uint8_t pad[2];
};
_Static_assert(sizeof(struct ublk_param_segment) == 16, "param_segment");
_Static_assert(offsetof(struct ublk_param_segment, max_segment_size) == 8, "segment.max_size");
_Static_assert(offsetof(struct ublk_param_segment, max_segments) == 12, "segment.max_segments");

/* ublk_params.types: the members that are given */
#define UBLK_PARAM_TYPE_BASIC	  (1u << 0)
#define UBLK_PARAM_TYPE_DISCARD	  (1u << 1)
#define UBLK_PARAM_TYPE_DEVT	  (1u << 2)
#define UBLK_PARAM_TYPE_ZONED	  (1u << 3)
#define UBLK_PARAM_TYPE_DMA_ALIGN (1u << 4)
#define UBLK_PARAM_TYPE_SEGMENT	  (1u << 5)

/* An older driver takes as much of it as it knows, and drops the types that it does not; a newer
 * one takes the rest as not given. */
struct ublk_params {
	uint32_t len; /* sizeof(struct ublk_params) */
	uint32_t types;
	struct ublk_param_basic basic;
	struct ublk_param_discard discard;
	struct ublk_param_devt devt;
	struct ublk_param_zoned zoned;
	struct ublk_param_dma_align dma;
	struct ublk_param_segment seg;
};
_Static_assert(sizeof(struct ublk_params) == 136, "params, up to the segment limits");
_Static_assert(offsetof(struct ublk_params, types) == 4, "params.types");
_Static_assert(offsetof(struct ublk_params, basic) == 8, "params.basic");
_Static_assert(offsetof(struct ublk_params, discard) == 40, "params.discard");
_Static_assert(offsetof(struct ublk_params, devt) == 60, "params.devt");
_Static_assert(offsetof(struct ublk_params, zoned) == 76, "params.zoned");
_Static_assert(offsetof(struct ublk_params, dma) == 108, "params.dma");
_Static_assert(offsetof(struct ublk_params, seg) == 120, "params.seg");

/* Requests: descriptors mapped from /dev/ublkcN, commands in the 16 bytes of an SQE. --------------
 */

#define UBLK_MAX_QUEUE_DEPTH 4096
#define UBLK_MAX_NR_QUEUES   4096

/* Queue q's descriptors begin at byte q * UBLK_MAX_QUEUE_DEPTH * sizeof(struct ublksrv_io_desc) of
 * the mapping of /dev/ublkcN, rounded up to pages; read-only. */
#define UBLKSRV_CMD_BUF_OFFSET 0

struct ublksrv_io_desc {
	uint32_t op_flags;   /* bits 0-7: enum ublk_io_op; above: UBLK_IO_F_* */
	uint32_t nr_sectors; /* of 512 bytes */
	uint64_t start_sector;
	uint64_t addr; /* copy mode: the buffer named in the fetch */
};
_Static_assert(sizeof(struct ublksrv_io_desc) == 24, "io_desc");
_Static_assert(offsetof(struct ublksrv_io_desc, nr_sectors) == 4, "io_desc.nr_sectors");
_Static_assert(offsetof(struct ublksrv_io_desc, start_sector) == 8, "io_desc.start_sector");
_Static_assert(offsetof(struct ublksrv_io_desc, addr) == 16, "io_desc.addr");

enum ublk_io_op {
	UBLK_IO_OP_READ = 0,
	UBLK_IO_OP_WRITE = 1,
	UBLK_IO_OP_FLUSH = 2,
	UBLK_IO_OP_DISCARD = 3,
	UBLK_IO_OP_WRITE_SAME = 4,
	UBLK_IO_OP_WRITE_ZEROES = 5,
};

#define UBLK_IO_OP_MASK		     0xffu
#define UBLK_IO_F_FAILFAST_DEV	     (1u << 8)
#define UBLK_IO_F_FAILFAST_TRANSPORT (1u << 9)
#define UBLK_IO_F_FAILFAST_DRIVER    (1u << 10)
#define UBLK_IO_F_META		     (1u << 11)
#define UBLK_IO_F_FUA		     (1u << 13)
#define UBLK_IO_F_NOUNMAP	     (1u << 15) /* write zeroes: keep the space allocated */
#define UBLK_IO_F_SWAP		     (1u << 16)
#define UBLK_IO_F_NEED_REG_BUF	     (1u << 17) /* automatic registration failed: no buffer */
#define UBLK_IO_F_INTEGRITY	     (1u << 18)
#define UBLK_IO_F_SHMEM_ZC	     (1u << 19)

struct ublksrv_io_cmd {
	uint16_t q_id;
	uint16_t tag;
	int32_t result; /* commit: bytes done, or a negative errno value */
	uint64_t addr;	/* copy mode: buffer; (un)register: index in the ring's buffer table */
};
_Static_assert(sizeof(struct ublksrv_io_cmd) == 16, "part of command numbers");
_Static_assert(offsetof(struct ublksrv_io_cmd, tag) == 2, "io_cmd.tag");
_Static_assert(offsetof(struct ublksrv_io_cmd, result) == 4, "io_cmd.result");
_Static_assert(offsetof(struct ublksrv_io_cmd, addr) == 8, "io_cmd.addr");

#define UBLK_IO_RW(nr) _IOWR('u', nr, struct ublksrv_io_cmd)

#define UBLK_U_IO_FETCH_REQ	       UBLK_IO_RW(0x20)
#define UBLK_U_IO_COMMIT_AND_FETCH_REQ UBLK_IO_RW(0x21)
#define UBLK_U_IO_NEED_GET_DATA	       UBLK_IO_RW(0x22)
#define UBLK_U_IO_REGISTER_IO_BUF      UBLK_IO_RW(0x23)
#define UBLK_U_IO_UNREGISTER_IO_BUF    UBLK_IO_RW(0x24)

/* Results of a fetch */
#define UBLK_IO_RES_OK	  0
#define UBLK_IO_RES_ABORT (-ENODEV) /* the tag is done for: do not fetch again */

/* AUTO_BUF_REG: sqe->addr of a fetch is the index in bits 0-15, flags in bits 16-23. */
#define UBLK_AUTO_BUF_REG_FALLBACK (1u << 0) /* on failure say UBLK_IO_F_NEED_REG_BUF */

static inline uint64_t ublk_auto_buf_reg_addr(uint16_t index, uint8_t flags)
{
	return index | (uint64_t)flags << 16;
}

/* USER_COPY: where a request's bytes are for pread and pwrite on /dev/ublkcN. */
#define UBLKSRV_IO_BUF_OFFSET 0x80000000ull
#define UBLK_IO_BUF_BITS      25 /* a request has at most 32 MiB */
#define UBLK_TAG_BITS	      16
#define UBLK_TAG_OFF	      UBLK_IO_BUF_BITS
#define UBLK_QID_OFF	      (UBLK_TAG_OFF + UBLK_TAG_BITS)

static inline uint64_t ublk_user_copy_pos(uint16_t q_id, uint16_t tag, uint32_t off)
{
	return UBLKSRV_IO_BUF_OFFSET + ((uint64_t)q_id << UBLK_QID_OFF) +
	       ((uint64_t)tag << UBLK_TAG_OFF) + off;
}

#endif
