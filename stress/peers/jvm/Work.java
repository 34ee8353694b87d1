// SPDX-License-Identifier: LGPL-2.1-or-later
import java.nio.charset.StandardCharsets;
import java.util.ArrayDeque;

/** Keys, random numbers and the draws of Zipf's law, bit for bit those of bench/subject.hpp, measure.hpp and zipf.hpp. */
final class Work {
	private Work() {}

	/** splitmix64, Steele, Lea and Flood 2014 */
	static long mix(long x) {
		x += 0x9e3779b97f4a7c15L;
		x = (x ^ (x >>> 30)) * 0xbf58476d1ce4e5b9L;
		x = (x ^ (x >>> 27)) * 0x94d049bb133111ebL;
		return x ^ (x >>> 31);
	}

	/** xorshift64*, Vigna 2016 */
	static final class Random {
		private long state;

		Random(long seed) {
			state = mix(seed) | 1;
		}

		long below(long n) {
			state ^= state >>> 12;
			state ^= state << 25;
			state ^= state >>> 27;
			long x = state * 0x2545f4914f6cdd1dL;
			return Math.multiplyHigh(x, n) + ((x >> 63) & n); // the high half of an unsigned product; n is positive
		}
	}

	/** Makes the keys of one thread. */
	abstract static class Keys {
		abstract Object make(long i);

		static Keys of(String kind) {
			switch (kind) {
			case "u64":
				return new Longs();
			case "str24":
				return new Strings();
			default:
				return null;
			}
		}
	}

	/** Boxed: a map of objects takes nothing else. */
	private static final class Longs extends Keys {
		@Override
		Object make(long i) {
			return mix(i);
		}
	}

	private static final class Strings extends Keys {
		private final byte[] text = "object/k................".getBytes(StandardCharsets.ISO_8859_1);

		@Override
		Object make(long i) {
			long bits = mix(i);
			for (int j = 0; j < 16; j++)
				text[8 + j] = (byte) ('a' + (bits >>> (4 * j) & 15));
			return new String(text, StandardCharsets.ISO_8859_1);
		}
	}

	/** What a thread has done beside its gets. Far from its neighbours' in memory. */
	static final class Tally {
		long gets, loads;
		long counted, end; // gets while counting; when the last of them was done
		int next; // w2: place in the thread's order
		long pad0, pad1, pad2, pad3, pad4, pad5, pad6, pad7, pad8, pad9, padA;
	}

	interface Loader {
		Payload load(long i, Tally tally);
	}

	/** By the alias method (Walker 1977; tables after Vose 1991). */
	static final class Zipf {
		private final long[] cells; // the cut in the upper half, the other key in the lower

		Zipf(int keys, double exponent) {
			double[] share = new double[keys];
			double all = 0;
			ArrayDeque<Integer> poor = new ArrayDeque<>(), rich = new ArrayDeque<>();

			cells = new long[keys];
			for (int k = 0; k < keys; k++)
				all += share[k] = Math.pow(k + 1.0, -exponent);
			for (int k = 0; k < keys; k++) {
				share[k] *= keys / all;
				cells[k] = 0xffffffffL << 32 | k;
				(share[k] < 1 ? poor : rich).push(k);
			}
			while (!poor.isEmpty() && !rich.isEmpty()) {
				int p = poor.pop(), r = rich.pop();

				cells[p] = Math.min((long) (share[p] * 0x1p32), 0xffffffffL) << 32 | r;
				share[r] -= 1 - share[p];
				(share[r] < 1 ? poor : rich).push(r);
			}
		}

		long draw(Random random) {
			long place = random.below((long) cells.length << 32);
			long cell = cells[(int) (place >>> 32)];

			return (place & 0xffffffffL) < cell >>> 32 ? place >>> 32 : cell & 0xffffffffL;
		}
	}
}
