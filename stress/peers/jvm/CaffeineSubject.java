// SPDX-License-Identifier: LGPL-2.1-or-later
import com.github.benmanes.caffeine.cache.Cache;
import com.github.benmanes.caffeine.cache.Caffeine;

/** Its upkeep runs in the thread that causes it, not in a pool beside the threads that are measured. */
final class CaffeineSubject implements Subject {
	private final Cache<Object, Payload> cache;

	CaffeineSubject(int bound) {
		Caffeine<Object, Object> builder = Caffeine.newBuilder().executor(Runnable::run);
		cache = (bound > 0 ? builder.maximumSize(bound) : builder.weakValues()).build();
	}

	@Override
	public Payload get(Object key, Work.Loader loader, long i, Work.Tally tally) {
		Payload found = cache.getIfPresent(key); // a hit allocates no closure
		return found != null ? found : cache.get(key, k -> loader.load(i, tally));
	}

	@Override
	public String version() {
		return Subject.versionOf(Caffeine.class);
	}
}
