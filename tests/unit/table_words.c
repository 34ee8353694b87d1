/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a lookup computes from words is what is computed byte by byte: the hash of eight bytes, the tags of a line, slots, keys. */
#include "table/line.h"

#include "table/hash.h"
#include "harness/rng.h"
#include "support/support.h"

TEST(hash_of_eight_bytes)
{
	hpx_rng rng = hpx_rng_stream(test_seed(), 0);

	for (int i = 0; i < 20000; i++) {
		uint64_t secret = hpx_rng_next(&rng), key = i ? hpx_rng_next(&rng) : 0;
		unsigned char at[16];
		uint64_t h = hpx_hash8(key, hpx_hash8_seed(secret));

		CHECK_EQ(h, XXH3_64bits_withSeed(&key, 8, secret));
		CHECK_EQ(h, hpx_hash_bytes(&key, 8, secret));
		memcpy(at + i % 8, &key, 8);
		CHECK_EQ(h, hpx_hash8(hpx_load8(at + i % 8), hpx_hash8_seed(secret)));
	}
}

TEST(tags)
{
	hpx_rng rng = hpx_rng_stream(test_seed(), 0);
	struct hpx_line line;

	for (int i = 0; i < 50000; i++) {
		uint64_t c = hpx_rng_next(&rng), h = hpx_rng_next(&rng), tag = hpx_tag(h), hits;
		unsigned first = HPX_SLOTS;

		CHECK(tag >= 1 && tag <= 63);
		for (unsigned j = 0; j < HPX_SLOTS; j++)
			if (hpx_rng_next(&rng) % 3 == 0)
				c = (c & ~hpx_ctl_lane(j, 63)) | hpx_ctl_lane(j, tag);
		hits = hpx_ctl_match(c, tag * HPX_CTL_ONES);
		for (unsigned j = HPX_SLOTS; j-- > 0;) {
			bool there = (c >> (8 * (j + 1)) & 63) == tag;

			CHECK_EQ(there, (hits & hpx_ctl_lane(j, 64)) != 0);
			if (there)
				first = j;
		}
		CHECK_EQ(hits & ~HPX_CTL_HITS, 0);
		if (hits) {
			CHECK_EQ(hpx_lane(hits), first);
			CHECK_PTR(hpx_slot_at(&line, hits), &line.slot[first]);
		}
	}
}

TEST(slots)
{
	for (unsigned k = 0; k <= HPX_REACH; k++) {
		uint64_t low = hpx_slot_low(k);

		CHECK(low != 0 && !(low & ~HPX_SLOT_LOW));
		CHECK_EQ(hpx_slot_distance(low), k);
		CHECK_PTR(hpx_slot_entry((uint64_t)(uintptr_t)&low / 16 * 16 | low), (void *)((uintptr_t)&low / 16 * 16));
	}
}

TEST(keys)
{
	hpx_rng rng = hpx_rng_stream(test_seed(), 0);
	unsigned char a[40], b[40];

	for (size_t i = 0; i < sizeof(a); i++)
		a[i] = b[i] = (unsigned char)hpx_rng_next(&rng);
	for (size_t n = 9; n <= 32; n++)
		for (size_t from = 0; from <= 8; from++) {
			CHECK(hpx_bytes_equal((char *)a + from, (char *)b + from, n));
			for (size_t i = 0; i < sizeof(a); i++) {
				b[i] ^= 1;
				CHECK_EQ(hpx_bytes_equal((char *)a + from, (char *)b + from, n),
					 memcmp(a + from, b + from, n) == 0);
				b[i] ^= 1;
			}
		}
}
