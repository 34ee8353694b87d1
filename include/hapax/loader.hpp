// SPDX-License-Identifier: LGPL-2.1-or-later
//
// hapax/loader.hpp - what may be a loader of a hapax::cache<T, Key>. It is called by several threads at once, as hapax_load_fn,
// and may throw: that is a failed load. One of
//
//      T load(Key)                                          constructs the object; T need be neither copied nor moved
//      std::optional<T> load(Key)                           empty: there is no value for this key
//      hapax::ref<T> load(Key)                              an object made or found elsewhere; empty: there is no value
//      int load(hapax::place<T> &, Key, hapax_load_error &) constructs it by place.emplace(...) and answers HAPAX_LOAD_*
//      void load(hapax::load_token<T> &, Key)               begins, moves the token away, and has it completed by and by
//
#ifndef HAPAX_LOADER_HPP
#define HAPAX_LOADER_HPP

#include <hapax/error.hpp>
#include <hapax/handle.hpp>
#include <hapax/key.hpp>

#include <optional>
#include <type_traits>
#include <utility>

namespace hapax {

// Where an object is to be constructed. What was constructed and then not accepted (FAIL, NOVALUE, an exception) is destroyed.
template <class T> class place {
public:
	explicit place(void *memory) noexcept : memory_(memory) {}
	place(const place &) = delete;
	place &operator=(const place &) = delete;
	~place()
	{
		if (object_)
			object_->~T();
	}

	// At most once.
	template <class... Args> T &emplace(Args &&...args)
	{
		if (object_)
			throw std::logic_error("hapax::place: constructed twice");
		object_ = ::new (memory_) T(std::forward<Args>(args)...);
		return *object_;
	}
	explicit operator bool() const noexcept { return object_ != nullptr; }
	// It is the cache's now.
	void accept() noexcept { object_ = nullptr; }

private:
	void *memory_;
	T *object_ = nullptr;
};

// The right and duty to complete one load (hapax/async.h): once, on any thread. Dropped without: HAPAX_EABANDONED.
template <class T> class load_token {
public:
	load_token() noexcept = default;
	explicit load_token(hapax_load *load) noexcept : load_(load) {}
	load_token(load_token &&other) noexcept : load_(std::exchange(other.load_, nullptr)) {}
	load_token &operator=(load_token &&other) noexcept
	{
		load_token moved(std::move(other));
		std::swap(load_, moved.load_);
		return *this;
	}
	~load_token() { hapax_load_drop(load_); }

	// 0, or HAPAX_ETOKEN: it was completed before. Who waited may be told on this thread, before it returns.
	int complete(ref<T> object) noexcept { return hapax_load_complete(load_, object.release(), nullptr); }
	int no_value() noexcept { return hapax_load_fail(load_, HAPAX_LOAD_NOVALUE, nullptr); }
	int fail(int code) noexcept
	{
		hapax_load_error error{};

		error.code = code;
		return hapax_load_fail(load_, HAPAX_LOAD_FAIL, &error);
	}
	// In a handler: with the exception that is being handled.
	int fail_with_exception() noexcept
	{
		hapax_load_error error{};

		detail::keep_exception(error);
		return hapax_load_fail(load_, HAPAX_LOAD_FAIL, &error);
	}
	explicit operator bool() const noexcept { return load_ != nullptr; }
	[[nodiscard]] hapax_load *release() noexcept { return std::exchange(load_, nullptr); }

private:
	hapax_load *load_ = nullptr;
};

namespace detail {

template <class X> struct is_optional : std::false_type {};
template <class X> struct is_optional<std::optional<X>> : std::true_type {};
template <class X> struct is_ref : std::false_type {};
template <class X> struct is_ref<ref<X>> : std::true_type {};

// The object from what a call answered; in one expression, so that it is constructed where it stays.
template <class T, class Call> int construct(void *object, Call &&call)
{
	using result = decltype(call());

	if constexpr (is_optional<result>::value) {
		result value = call();

		if (!value)
			return HAPAX_LOAD_NOVALUE;
		::new (object) T(*std::move(value));
	} else {
		static_assert(std::is_same_v<result, T>, "a loader of T answers T, std::optional<T> or hapax::ref<T>");
		::new (object) T(call());
	}
	return HAPAX_LOAD_OK;
}

// Which of the forms L has, and the library's function for it; `arg` gives the loader by get(arg).
template <class T, class Key, class L, L &(*get)(void *arg)> struct loader {
	static constexpr bool placing = std::is_invocable_r_v<int, L &, place<T> &, Key, hapax_load_error &>;
	static constexpr bool starting = !placing && std::is_invocable_v<L &, load_token<T> &, Key>;

	static constexpr bool makes()
	{
		if constexpr (!placing && !starting) {
			static_assert(std::is_invocable_v<L &, Key>, "none of the forms of hapax/loader.hpp");
			return is_ref<std::invoke_result_t<L &, Key>>::value;
		} else {
			return false;
		}
	}

	static int load(void *object, const hapax_key *key, void *arg, hapax_load_error *error)
	{
		return guarded(
			HAPAX_LOAD_FAIL,
			[&]() -> int {
				if constexpr (placing) {
					place<T> where(object);
					int answer = get(arg)(where, key_traits<Key>::from(*key), *error);

					if (answer == HAPAX_LOAD_OK && !where)
						throw std::logic_error("hapax: a loader answered OK and constructed nothing");
					if (answer == HAPAX_LOAD_OK)
						where.accept();
					return answer;
				} else if constexpr (!starting && !makes()) {
					return construct<T>(object, [&]() -> decltype(auto) { return get(arg)(key_traits<Key>::from(*key)); });
				} else {
					return HAPAX_LOAD_FAIL;
				}
			},
			[&]() { keep_exception(*error); });
	}

	static int make(void **object, const hapax_key *key, void *arg, hapax_load_error *error)
	{
		return guarded(
			HAPAX_LOAD_FAIL,
			[&]() -> int {
				if constexpr (makes())
					*object = get(arg)(key_traits<Key>::from(*key)).release();
				return *object ? HAPAX_LOAD_OK : HAPAX_LOAD_NOVALUE;
			},
			[&]() { keep_exception(*error); });
	}

	static int start(hapax_load *load, const hapax_key *key, void *arg, hapax_load_error *error)
	{
		load_token<T> token(load);

		return guarded(
			HAPAX_LOAD_OK,
			[&]() -> int {
				if constexpr (starting)
					get(arg)(token, key_traits<Key>::from(*key));
				return HAPAX_LOAD_OK;
			},
			[&]() {
				if (!token)
					std::terminate(); /* the load is somebody else's by now, and this is nobody's error */
				token.fail_with_exception();
				(void)error;
			});
	}
};

} // namespace detail

} // namespace hapax

#endif
