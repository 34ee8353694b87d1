// SPDX-License-Identifier: LGPL-2.1-or-later
import java.io.IOException;
import java.lang.management.CompilationMXBean;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.concurrent.CountDownLatch;

/** One populated workload, and how it is run. */
final class Field {
	private static final int W10_KEYS = 300000;
	private static final int WARM_UP_ROUNDS = 60; // of W10: as many gets for each place there is room for

	/** Is told the threads' ids when they stand ready; returns when they are to go. */
	interface Started {
		void started(long[] ids) throws IOException;
	}

	static final class Result {
		double mops;
		double hitRatio = -1; // below 0: no such thing
	}

	private final Subject subject;
	private final String workload, keys;
	private final long n;
	private final Work.Zipf zipf;              // w10; null: uniform, or drawn beforehand
	private final int draws;                   // w2, of each thread; a power of two
	private int[][] drawn = new int[0][];      // w2, by thread
	private final Work.Loader loader;
	private Payload[] held; // what keeps the objects of a hit workload alive
	private volatile long loadNanoseconds;
	private volatile boolean go, counting, stop;
	private long runs;

	Field(String subjectName, String workload, String keys, int n, int draws) throws Exception {
		boolean bounded = workload.equals("w10");

		this.workload = workload;
		this.keys = keys;
		this.n = n;
		this.draws = draws;
		subject = Subject.make(subjectName, bounded ? n : 0);
		zipf = bounded ? new Work.Zipf(W10_KEYS, 0.99) : null;
		loader = bounded ? this::loadSlowly : workload.equals("w4") ? Field::loadAll : Field::loadOne;
		if (bounded) {
			fillUp((long) WARM_UP_ROUNDS * n);
		} else if (!workload.equals("w4")) {
			Work.Keys make = Work.Keys.of(keys);
			held = new Payload[n];
			for (int i = 0; i < n; i++)
				held[i] = subject.get(make.make(i), loader, i, null);
		}
	}

	private static Payload loadOne(long i, Work.Tally tally) {
		Payload made = new Payload();
		made.word0 = i;
		if (tally != null)
			tally.loads++;
		return made;
	}

	private static Payload loadAll(long i, Work.Tally tally) {
		Payload made = new Payload();
		made.fill(i);
		tally.loads++;
		return made;
	}

	private Payload loadSlowly(long i, Work.Tally tally) {
		long wait = loadNanoseconds;
		if (wait > 0)
			for (long start = System.nanoTime(); System.nanoTime() - start < wait; ) {
			}
		return loadOne(i, tally);
	}

	private void fillUp(long gets) {
		Work.Random random = new Work.Random(gets);
		Work.Keys make = Work.Keys.of(keys);
		Work.Tally tally = new Work.Tally();

		for (long done = 0; done < gets; done += 128)
			batch(random, make, tally, null);
	}

	/** Runs until the compiler has had nothing to do for a while. */
	void warmUp() throws Exception {
		CompilationMXBean compiler = ManagementFactory.getCompilationMXBean();
		int quiet = 0;

		for (int round = 0; round < 40 && quiet < 3; round++) {
			long before = compiler.getTotalCompilationTime();
			run(2, 0.25, 7700 + round, 0, ids -> {});
			quiet = compiler.getTotalCompilationTime() == before ? quiet + 1 : 0;
		}
	}

	/** W2: keys drawn beforehand, popular ones spread over the objects. */
	private void draw(int threads) {
		int had = drawn.length;
		if (!workload.equals("w2") || threads <= had)
			return;
		Work.Zipf law = new Work.Zipf((int) n, 0.99);
		drawn = Arrays.copyOf(drawn, threads);
		for (int t = had; t < threads; t++) {
			Work.Random random = new Work.Random(977 + t);
			drawn[t] = new int[draws];
			for (int k = 0; k < draws; k++)
				drawn[t][k] = (int) (law.draw(random) * 2654435761L % n);
		}
	}

	/** `order`: what the thread asks for, from tally.next on; null: what comes out of `random`. */
	private void batch(Work.Random random, Work.Keys make, Work.Tally tally, int[] order) {
		for (int k = 0; k < 128; k++) {
			long i = order != null ? order[tally.next++ & order.length - 1] : zipf != null ? zipf.draw(random) : random.below(n);
			Payload found = subject.get(make.make(i), loader, i, tally);
			if (found.word0 != i)
				wrong(i);
		}
		tally.gets += 128;
	}

	private static void wrong(long i) {
		System.err.println("jvm: wrong value for key " + i);
		System.exit(1);
	}

	private static long threadId() {
		try {
			return Long.parseLong(Files.readSymbolicLink(Path.of("/proc/thread-self")).getFileName().toString());
		} catch (IOException e) {
			return 0;
		}
	}

	private static void pause(double seconds) throws InterruptedException {
		Thread.sleep((long) (seconds * 1e3), (int) ((long) (seconds * 1e9) % 1000000));
	}

	/** What measure.hpp's run_threads() does. */
	Result run(int threads, double seconds, long seed, long loadNs, Started started) throws Exception {
		Work.Tally[] tallies = new Work.Tally[threads];
		long[] ids = new long[threads];
		CountDownLatch ready = new CountDownLatch(threads);
		Thread[] pool = new Thread[threads];

		draw(threads);
		loadNanoseconds = loadNs;
		go = counting = stop = false;
		// W10: never the requests of an earlier run, they are in the cache
		long first = workload.equals("w10") ? seed * 1009 + ++runs * 100003 : seed;
		for (int t = 0; t < threads; t++) {
			int thread = t;
			tallies[t] = new Work.Tally();
			tallies[t].next = (int) Long.remainderUnsigned(Work.mix(seed), draws);
			pool[t] = new Thread(() -> {
				Work.Random random = new Work.Random(first * 131 + thread);
				Work.Keys make = Work.Keys.of(keys);
				Work.Tally tally = tallies[thread];
				int[] order = drawn.length > 0 ? drawn[thread] : null;

				ids[thread] = threadId();
				ready.countDown();
				while (!go)
					Thread.yield();
				while (!stop) {
					boolean counted = counting;
					batch(random, make, tally, order);
					if (counted)
						tally.counted += 128;
				}
				tally.end = System.nanoTime();
			});
			pool[t].start();
		}
		ready.await();
		started.started(ids);
		go = true;
		pause(seconds / 4); // what others pushed out of the caches comes back
		long start = System.nanoTime();
		counting = true;
		pause(seconds);
		stop = true;
		for (Thread thread : pool)
			thread.join();

		Result result = new Result();
		long gets = 0, loads = 0, counted = 0, took = 1;
		for (Work.Tally tally : tallies) {
			gets += tally.gets;
			loads += tally.loads;
			counted += tally.counted;
			took = Math.max(took, tally.end - start);
		}
		result.mops = counted * 1e3 / took;
		if (workload.equals("w10") || workload.equals("w4"))
			result.hitRatio = gets > 0 ? 1 - (double) loads / gets : 0;
		return result;
	}
}
