# SPDX-License-Identifier: MIT
# The tree obeys check-layers.sh, and check-layers.sh notices each kind of violation.
. "$TEST_ENV"

"$top_srcdir/check-layers.sh" "$top_srcdir"

# tree: a small clean tree to spoil.
tree() {
	rm -rf tree
	mkdir -p tree/common tree/codecs tree/image tree/cli
	cp "$top_srcdir/layers.txt" tree/
	printf '/* SPDX-License-Identifier: MIT */\nint low;\n' >tree/common/low.h
	printf '/* SPDX-License-Identifier: MIT */\n#include "common/low.h"\n' >tree/image/mid.h
	printf '/* SPDX-License-Identifier: MIT */\n#include "config.h"\n#include <stdio.h>\n' \
		>tree/cli/top.c
	printf '#include "image/mid.h"\n#include "common/low.h"\n' >>tree/cli/top.c
}

# caught TEXT: check-layers.sh refuses the tree and says TEXT.
caught() {
	expect_status 1 "$top_srcdir/check-layers.sh" tree >out
	grep -qF -- "$1" out || fail "check-layers.sh does not say: $1"
	[ "$(wc -l <out)" = 1 ] || fail "more than one line: $(cat out)"
}

tree
"$top_srcdir/check-layers.sh" tree

tree
echo '#include "image/mid.h"' >>tree/common/low.h
caught 'common/low.h:3: common/ must not include "image/mid.h"'

tree
echo '# include "cli/top.h"' >>tree/image/mid.h
caught 'image/mid.h:3: image/ must not include "cli/top.h"'

tree
mkdir tree/bridge tree/fuse
printf '/* SPDX-License-Identifier: MIT */\n#include "fuse/tree.h"\n' >tree/bridge/queue.h
caught 'bridge/ must not include "fuse/tree.h"'

tree
echo '#include "mid.h"' >>tree/image/mid.h
caught 'must be written DIRECTORY/mid.h'

tree
sed -i '/config.h/d' tree/cli/top.c
caught 'cli/top.c:2: the first include must be config.h'

tree
sed -i 1d tree/common/low.h
caught 'common/low.h: no SPDX line'

tree
for ((i = 0; i < 799; i++)); do echo; done >>tree/common/low.h
caught 'common/low.h: 801 lines; the limit is 800'

# Background work whose process id nobody keeps would fail unseen.
unseen() {
	awk '
		bare != "" && !/=\$!$/ { print bare }
		{ bare = /(^|[^&>|])&[[:space:]]*(#.*)?$/ ? FILENAME ":" FNR ": " $0 : "" }
		END { if (bare != "") print bare }
	' "$@"
}
printf 'spawn false\nfalse &\nwait\n' >bad.sh
# shellcheck disable=SC2016 # text of a script
printf 'false &\npid=$!\nwait "$pid"\nfalse && true\nfalse >&2\n' >good.sh
[ "$(unseen bad.sh)" = "bad.sh:2: false &" ] || fail "a bare & is not noticed"
[ -z "$(unseen good.sh)" ] || fail "noticed for nothing: $(unseen good.sh)"
unseen "$top_srcdir"/tests/cli/*.sh >found
[ ! -s found ] || fail "use spawn, or keep \$! and wait for it: $(cat found)"
