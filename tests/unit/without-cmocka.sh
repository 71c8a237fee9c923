# SPDX-License-Identifier: MIT
# Stands in for the unit tests in a build without cmocka, so that the gap shows in the summary.
. "$TEST_ENV"

skip "the unit tests need cmocka (Debian: libcmocka-dev); install it and run configure again"
