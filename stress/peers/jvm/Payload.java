// SPDX-License-Identifier: LGPL-2.1-or-later
/** 64 bytes, as in the benchmark; the object's header comes on top. */
final class Payload {
	long word0, word1, word2, word3, word4, word5, word6, word7;

	void fill(long i) {
		word0 = word1 = word2 = word3 = word4 = word5 = word6 = word7 = i;
	}
}
