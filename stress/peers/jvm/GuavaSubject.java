// SPDX-License-Identifier: LGPL-2.1-or-later
import com.google.common.cache.Cache;
import com.google.common.cache.CacheBuilder;
import java.util.concurrent.ExecutionException;

final class GuavaSubject implements Subject {
	private final Cache<Object, Payload> cache;

	GuavaSubject(int bound) {
		CacheBuilder<Object, Object> builder = CacheBuilder.newBuilder().concurrencyLevel(16);
		cache = (bound > 0 ? builder.maximumSize(bound) : builder.weakValues()).build();
	}

	@Override
	public Payload get(Object key, Work.Loader loader, long i, Work.Tally tally) {
		Payload found = cache.getIfPresent(key); // a hit allocates no closure
		if (found != null)
			return found;
		try {
			return cache.get(key, () -> loader.load(i, tally));
		} catch (ExecutionException e) {
			throw new IllegalStateException(e);
		}
	}

	@Override
	public String version() {
		return Subject.versionOf(CacheBuilder.class);
	}
}
