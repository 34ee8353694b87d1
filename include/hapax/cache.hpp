// SPDX-License-Identifier: LGPL-2.1-or-later
//
// hapax/cache.hpp - hapax::cache<T, Key>: a hapax_cache that owns its callables and knows the type of its objects and keys.
//
// Statuses are returned as in C; get_or_throw() throws instead. Calls without a comment are their hapax_cache_ namesakes
// (hapax/cache.h, hapax/compute.h), and say there when they fail, wait and may be called. Callables run where their C
// counterparts do, without locks, by several threads at once. Exceptions: of loaders, see hapax/error.hpp; weigh and expire
// that throw fail the call with HAPAX_ECALLBACK; compute and remove_where throw what their function threw; listeners,
// destructors and completions that throw end the program.
//
#ifndef HAPAX_CACHE_HPP
#define HAPAX_CACHE_HPP

#include <hapax/loader.hpp>

#include <chrono>
#include <exception>
#include <functional>
#include <limits>
#include <memory>

namespace hapax {

// For options of time: ns(std::chrono::minutes(5)). 0 is an explicit zero, not "unset"; what is too long has no end.
template <class Rep, class Period> constexpr std::int64_t ns(std::chrono::duration<Rep, Period> time) noexcept
{
	using seconds = std::chrono::duration<double>;

	if (time == time.zero())
		return HAPAX_ZERO;
	if (std::chrono::duration_cast<seconds>(time).count() > 9.2e9)
		return std::numeric_limits<std::int64_t>::max();
	return std::chrono::duration_cast<std::chrono::nanoseconds>(time).count();
}

// All defaults, for a program that then sets what it wants. Function pointers and `type` are cache<>'s: left alone.
inline hapax_cache_options options() noexcept
{
	hapax_cache_options o{};

	o.size = sizeof(o);
	return o;
}

// Read without a reference while it exists (hapax_cache_borrow). Ended on its thread, the latest first.
template <class T> class borrowed {
public:
	borrowed() noexcept = default;
	explicit borrowed(const void *object) noexcept : object_(static_cast<const T *>(object)) {}
	borrowed(const borrowed &) = delete;
	borrowed &operator=(const borrowed &) = delete;
	borrowed(borrowed &&other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
	~borrowed()
	{
		if (object_)
			hapax_borrow_end();
	}

	const T *get() const noexcept { return object_; }
	const T &operator*() const noexcept { return *object_; }
	const T *operator->() const noexcept { return object_; }
	explicit operator bool() const noexcept { return object_ != nullptr; }

private:
	const T *object_ = nullptr;
};

template <class T, class Key = std::string_view> class cache {
	using traits = key_traits<Key>;

public:
	// hapax_removal with types. `object`: NULL, readable or alive as said there.
	struct removal {
		Key key;
		T *object;
		hapax_cause cause;
		std::uint64_t weight;
	};

	// All of them may be left empty.
	struct callbacks {
		std::function<void(const removal &)> on_removal;
		std::function<std::uint64_t(Key, T &)> weigh;
		std::function<void(hapax_expire_event, Key, T &, std::uint64_t &ttl_ns)> expire;
		// Of each object still alive when the cache is destroyed.
		std::function<void(Key, T &, std::uint64_t count)> leak;
	};

	constexpr cache() noexcept = default;
	cache(cache &&other) noexcept : cache_(std::exchange(other.cache_, nullptr)) {}
	cache &operator=(cache &&other) noexcept
	{
		cache moved(std::move(other));
		std::swap(cache_, moved.cache_);
		return *this;
	}
	// hapax_cache_destroy(): waits for calls in progress. The callables go when the last of them has returned.
	~cache() { hapax_cache_destroy(cache_); }

	// 0, or why not (hapax_cache_create; HAPAX_EOPTION also when `options` has callbacks or a type of its own); `out` is replaced
	// only with 0. The loader has one of the forms of hapax/loader.hpp; nullptr: none.
	template <class L> [[nodiscard]] static int create(cache &out, hapax_cache_options options, L loader, callbacks also = {})
	{
		using holder = state<L>;
		using form = detail::loader<T, Key, L, &holder::loader_of>;
		int status = HAPAX_EOPTION;

		if (options.type || options.load || options.make || options.start || options.load_many || options.arg ||
		    options.arg_free || options.weigh || options.expire || options.on_removal || options.leak)
			return status;
		auto kept = std::make_unique<holder>(std::move(loader), std::move(also));

		options.type = &type<T>;
		if constexpr (!std::is_null_pointer_v<L>) {
			if constexpr (form::starting)
				options.start = &form::start;
			else if constexpr (form::makes())
				options.make = &form::make;
			else
				options.load = &form::load;
		}
		set_callbacks(options, *kept);
		options.arg = static_cast<base *>(kept.get());
		options.arg_free = [](void *arg) noexcept { delete static_cast<base *>(arg); };

		cache fresh;
		status = hapax_cache_create(&fresh.cache_, &options);
		if (status == 0) {
			(void)kept.release(); // the cache's: arg_free
			std::swap(out.cache_, fresh.cache_);
		}
		return status;
	}
	[[nodiscard]] static int create(cache &out, const hapax_cache_options &options)
	{
		return create(out, options, nullptr);
	}

	// ---- gets: `out` is empty unless 0 is returned

	[[nodiscard]] int get(const Key &key, ref<T> &out)
	{
		return taken(out, [&](void **object) { return hapax_cache_get(cache_, traits::to(key), object); });
	}
	// With the load error, if it is HAPAX_ELOADER.
	[[nodiscard]] int get(const Key &key, ref<T> &out, load_error &why) { return get(key, out, get_options(&why)); }
	[[nodiscard]] int get(const Key &key, ref<T> &out, const hapax_get_options &options)
	{
		return taken(out, [&](void **object) { return hapax_cache_get_with(cache_, traits::to(key), &options, object); });
	}
	// With a loader for this call, of any form but that with a token.
	template <class L> [[nodiscard]] int get_with(const Key &key, ref<T> &out, L &&loader, load_error *why = nullptr)
	{
		using callable = std::remove_reference_t<L>;
		using form = detail::loader<T, Key, callable, &pointed<callable>>;
		static_assert(!form::starting, "only a cache can have a loader that begins");
		hapax_get_options options = get_options(why);

		if constexpr (form::makes())
			options.make = &form::make;
		else
			options.load = &form::load;
		options.arg = const_cast<void *>(static_cast<const void *>(std::addressof(loader)));
		return get(key, out, options);
	}
	// The object; empty: there is no value for this key. Throws what the loader threw, on every thread that waited for it, or
	// else a hapax::failure.
	[[nodiscard]] ref<T> get_or_throw(const Key &key)
	{
		ref<T> out;
		load_error why;
		int status = get(key, out, why);

		if (status != HAPAX_OK && status != HAPAX_NOVALUE && status != HAPAX_NEGATIVE)
			why.rethrow(status);
		return out;
	}
	[[nodiscard]] int get_if_present(const Key &key, ref<T> &out)
	{
		return taken(out, [&](void **object) { return hapax_cache_get_if_present(cache_, traits::to(key), object); });
	}
	[[nodiscard]] int get_quietly(const Key &key, ref<T> &out)
	{
		return taken(out, [&](void **object) { return hapax_cache_get_quietly(cache_, traits::to(key), object); });
	}
	// Empty if it is absent or cannot be borrowed. T's type_traits have the flag HAPAX_TYPE_BORROW.
	[[nodiscard]] borrowed<T> borrow(const Key &key)
	{
		const void *object = nullptr;

		return hapax_cache_borrow(cache_, traits::to(key), &object) == 0 ? borrowed<T>(object) : borrowed<T>();
	}
	// hapax_cache_get_async(): with 0, done(int status, ref<T> object, load_error why) is called once.
	template <class F> [[nodiscard]] int get_async(const Key &key, F done)
	{
		std::unique_ptr<F> kept(new (std::nothrow) F(std::move(done)));
		int status;

		if (!kept)
			return HAPAX_ENOMEM;
		status = hapax_cache_get_async(cache_, traits::to(key), nullptr, &told<F>, kept.get());
		if (status == 0)
			(void)kept.release(); // told() has it, perhaps has had it
		return status;
	}

	// ---- writes

	[[nodiscard]] int put(const Key &key, const ref<T> &object)
	{
		return hapax_cache_put(cache_, traits::to(key), object.get());
	}
	[[nodiscard]] int put(const Key &key, const ref<T> &object, const hapax_put_options &options)
	{
		return hapax_cache_put_with(cache_, traits::to(key), object.get(), &options);
	}
	[[nodiscard]] int get_or_put(const Key &key, const ref<T> &object, ref<T> &out, bool *inserted = nullptr)
	{
		return taken(out, [&](void **present) {
			return hapax_cache_get_or_put(cache_, traits::to(key), object.get(), present, inserted);
		});
	}
	int remove(const Key &key) { return hapax_cache_remove(cache_, traits::to(key)); }
	int remove_if(const Key &key, const ref<T> &object) { return hapax_cache_remove_if(cache_, traits::to(key), object.get()); }
	[[nodiscard]] int pop(const Key &key, ref<T> &out)
	{
		return taken(out, [&](void **object) { return hapax_cache_pop(cache_, traits::to(key), object); });
	}
	[[nodiscard]] int refresh(const Key &key) { return hapax_cache_refresh(cache_, traits::to(key)); }
	int touch(const Key &key) { return hapax_cache_touch(cache_, traits::to(key)); }
	int set_ttl(const Key &key, std::int64_t ttl_ns) { return hapax_cache_set_ttl(cache_, traits::to(key), ttl_ns); }
	void clear() { hapax_cache_clear(cache_); }

	// f(T *current, ref<T> &next) answers HAPAX_COMPUTE_*; for PUT it fills `next`.
	template <class F>
	[[nodiscard]] int compute(const Key &key, F &&f, ref<T> *out = nullptr, hapax_change *change = nullptr,
				  std::uint64_t deadline = HAPAX_FOREVER)
	{
		carried<F> call{f, nullptr};
		void *object = nullptr;
		int status = hapax_cache_compute(cache_, traits::to(key), &computed<F>, &call, deadline, out ? &object : nullptr,
						 change, nullptr);

		if (out)
			*out = ref<T>::adopt(object);
		if (call.exception)
			std::rethrow_exception(std::move(call.exception));
		return status;
	}
	// match(Key, T &) says true of what is to go.
	template <class F> int remove_where(F &&match, std::size_t *removed = nullptr)
	{
		carried<F> call{match, nullptr};
		int status = hapax_cache_remove_where(cache_, &matched<F>, &call, removed);

		if (call.exception)
			std::rethrow_exception(std::move(call.exception));
		return status;
	}

	// ---- the whole

	// f(Key, const ref<T> &) for each present entry (hapax_iter). 0, or an error of the iteration. f may throw.
	template <class F> int for_each(F &&f)
	{
		hapax_iter *iter = nullptr;
		void *object = nullptr;
		hapax_key key{};
		int status = hapax_cache_iterate(cache_, &iter);
		std::unique_ptr<hapax_iter, void (*)(hapax_iter *)> closes(iter, hapax_iter_close);

		while (status == 0 && (status = hapax_iter_next(iter, &key, &object)) == 0)
			f(traits::from(key), ref<T>::share_of(static_cast<T *>(object)));
		return status == HAPAX_EMPTY ? 0 : status;
	}
	int contains(const Key &key) { return hapax_cache_contains(cache_, traits::to(key)); }
	std::size_t size() { return hapax_cache_size(cache_); }
	bool maintain() { return hapax_cache_maintain(cache_); }
	[[nodiscard]] int set_bound(std::int64_t bound) { return hapax_cache_set_bound(cache_, bound); }
	hapax_cache_stats stats() const
	{
		hapax_cache_stats stats{};

		stats.size = sizeof(stats);
		if (hapax_cache_stats_get(cache_, &stats) != 0)
			stats = hapax_cache_stats{};
		return stats;
	}
	void close() { hapax_cache_close(cache_); }
	explicit operator bool() const noexcept { return cache_ != nullptr; }
	// For the calls of C that are not here. Objects are T, keys the bytes that key_traits say.
	hapax_cache *raw() const noexcept { return cache_; }

private:
	struct base : callbacks {
		explicit base(callbacks &&also) : callbacks(std::move(also)) {}
		virtual ~base() = default;
	};
	template <class L> struct state final : base {
		L loader;

		state(L &&l, callbacks &&also) : base(std::move(also)), loader(std::move(l)) {}
		static L &loader_of(void *arg) { return static_cast<state *>(static_cast<base *>(arg))->loader; }
	};
	template <class F> struct carried {
		std::remove_reference_t<F> &f;
		std::exception_ptr exception;
	};
	template <class F> static F &pointed(void *arg) { return *static_cast<F *>(arg); }

	template <class Call> static int taken(ref<T> &out, Call &&call)
	{
		void *object = nullptr;
		int status = call(&object);

		out = ref<T>::adopt(object);
		return status;
	}

	static hapax_get_options get_options(load_error *why) noexcept
	{
		hapax_get_options options{};

		options.size = sizeof(options);
		options.deadline = HAPAX_FOREVER;
		options.error = why ? why->fill() : nullptr;
		return options;
	}

	static void set_callbacks(hapax_cache_options &options, base &kept)
	{
		if (kept.on_removal) {
			options.on_removal = [](const hapax_removal *r, void *ctx) noexcept {
				static_cast<base *>(ctx)->on_removal(
					removal{traits::from(r->key), static_cast<T *>(r->object), r->cause, r->weight});
				return 0;
			};
			options.on_removal_ctx = &kept;
		}
		if (kept.weigh) {
			options.weigh = [](const hapax_key *key, void *object, std::uint64_t *weight, void *ctx) {
				return detail::guarded(
					1,
					[&]() {
						*weight = static_cast<base *>(ctx)->weigh(traits::from(*key), *static_cast<T *>(object));
						return 0;
					},
					[]() {});
			};
			options.weigh_ctx = &kept;
		}
		if (kept.expire) {
			options.expire = [](hapax_expire_event event, const hapax_key *key, void *object, std::uint64_t *ttl, void *ctx) {
				return detail::guarded(
					1,
					[&]() {
						static_cast<base *>(ctx)->expire(event, traits::from(*key), *static_cast<T *>(object), *ttl);
						return 0;
					},
					[]() {});
			};
			options.expire_ctx = &kept;
		}
		if (kept.leak) {
			options.leak = [](const hapax_key *key, void *object, const char *, std::uint64_t count, bool, void *ctx) noexcept {
				static_cast<base *>(ctx)->leak(traits::from(*key), *static_cast<T *>(object), count);
			};
			options.leak_ctx = &kept;
		}
	}

	template <class F> static void told(int status, void *object, hapax_load_error *error, void *ctx) noexcept
	{
		std::unique_ptr<F> done(static_cast<F *>(ctx));

		(*done)(status, ref<T>::adopt(object), load_error(std::move(*error)));
	}

	template <class F>
	static int computed(void *current, const hapax_key *, void **object, void *arg, hapax_load_error *)
	{
		auto *call = static_cast<carried<F> *>(arg);

		return detail::guarded(
			HAPAX_COMPUTE_FAIL,
			[&]() -> int {
				ref<T> next;
				int answer = call->f(static_cast<T *>(current), next);

				*object = next.release();
				return answer;
			},
			[&]() { call->exception = std::current_exception(); });
	}

	template <class F> static int matched(const hapax_key *key, void *object, void *arg)
	{
		auto *call = static_cast<carried<F> *>(arg);

		return detail::guarded(
			-1, [&]() -> int { return call->f(traits::from(*key), *static_cast<T *>(object)) ? 1 : 0; },
			[&]() { call->exception = std::current_exception(); });
	}

	hapax_cache *cache_ = nullptr;
};

} // namespace hapax

#endif
