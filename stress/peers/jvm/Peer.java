// SPDX-License-Identifier: LGPL-2.1-or-later
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;

/** Caffeine or Guava, as a program that the benchmark speaks to line by line (../README.md). */
public final class Peer {
	private static final int BYTES_PER_OBJECT = 300; // at most, with what a cache and the caller keep of it
	private static final BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
	private static Field field;

	private Peer() {}

	private static void say(String text) {
		System.out.println(text);
		System.out.flush();
		if (System.out.checkError())
			System.exit(0);
	}

	private static String populate(String subject, String[] words) throws Exception {
		if (words.length < 4 || Integer.parseInt(words[3]) <= 0)
			return "error populate WORKLOAD KEY N [DRAWS]";
		switch (words[1]) {
		case "w1":
		case "w2":
		case "w3":
		case "w4":
		case "w10":
			break;
		default:
			return "absent " + words[1] + " is not done here";
		}
		if (Work.Keys.of(words[2]) == null)
			return "absent keys of kind " + words[2];
		int n = Integer.parseInt(words[3]), draws = words.length > 4 ? Integer.parseInt(words[4]) : 1 << 20;
		if ((long) n * BYTES_PER_OBJECT > Runtime.getRuntime().maxMemory())
			return "absent the heap is too small for " + n + " objects";
		if (Integer.bitCount(draws) != 1)
			return "error DRAWS is no power of two";
		field = null;
		field = new Field(subject, words[1], words[2], n, draws);
		field.warmUp();
		System.gc(); // what stays is in the old generation now and is not copied about in a run
		return "ok";
	}

	private static String run(String[] words) throws Exception {
		if (field == null || words.length < 4)
			return "error run THREADS SECONDS SEED [LOAD_NS], after populate";
		long load = words.length > 4 ? Long.parseLong(words[4]) : 0;
		Field.Result result = field.run(Integer.parseInt(words[1]), Double.parseDouble(words[2]), Long.parseLong(words[3]),
						load, Peer::waitForGo);
		return "mops " + result.mops + (result.hitRatio >= 0 ? " hit_ratio " + result.hitRatio : "");
	}

	private static void waitForGo(long[] ids) throws IOException {
		for (int t = 0; t < ids.length; t++)
			say("thread " + t + " " + ids[t]);
		if (!"go".equals(in.readLine()))
			System.exit(0);
	}

	public static void main(String[] args) throws Exception {
		String subject = args[0], name = Character.toUpperCase(subject.charAt(0)) + subject.substring(1), line;

		while ((line = in.readLine()) != null) {
			String[] words = line.trim().split("\\s+");
			switch (words[0]) {
			case "hello":
				say("peer " + name + " " + Subject.make(subject, 0).version() + " Java " + System.getProperty("java.version"));
				break;
			case "populate":
				say(populate(subject, words));
				break;
			case "run":
				say(run(words));
				break;
			case "memory":
				say("absent a heap that is collected has no resident size of its entries");
				break;
			case "quit":
				return;
			default:
				say("error what is that?");
			}
		}
	}
}
