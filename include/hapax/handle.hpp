// SPDX-License-Identifier: LGPL-2.1-or-later
//
// hapax/handle.hpp - hapax::ref, a move-only strong reference; hapax::weak, a weak one; how a C++ type becomes a hapax_type.
//
// T may be any object type: it is constructed in place, and ~T() is its destructor in hapax's sense. A foreign resource with a
// deleter is a T like std::unique_ptr<FILE, closer>. A destructor that throws ends the program (std::terminate), as it does
// anywhere else.
//
#ifndef HAPAX_HANDLE_HPP
#define HAPAX_HANDLE_HPP

#include <hapax/hapax.h>

#include <array>
#include <cstddef>
#include <new>
#include <string_view>
#include <type_traits>
#include <utility>

namespace hapax {

namespace detail {

template <class T> constexpr std::string_view pretty() noexcept { return __PRETTY_FUNCTION__; }

// The name of T as the compiler writes it: "[with T = std::vector<int>; ...]" or "[T = ...]".
template <class T> constexpr std::string_view name_in_pretty() noexcept
{
	std::string_view text = pretty<T>();

	text.remove_prefix(text.find("T = ") + 4);
	return text.substr(0, text.find_first_of(";]"));
}

template <class T> constexpr auto name_array() noexcept
{
	constexpr std::string_view text = name_in_pretty<T>();
	std::array<char, text.size() + 1> name{};

	for (std::size_t i = 0; i < text.size(); i++)
		name[i] = text[i];
	return name;
}

template <class T> inline constexpr auto name = name_array<T>();

template <class T> void destroy(void *object, void *) noexcept { static_cast<T *>(object)->~T(); }

} // namespace detail

// To be specialised where a type is to have another name in reports, or flags (HAPAX_TYPE_BORROW, ...).
template <class T> struct type_traits {
	static constexpr const char *name = detail::name<T>.data();
	static constexpr unsigned flags = 0;
};

// The descriptor of T. One for the whole program, so far as T itself is known outside its shared object.
template <class T>
HAPAX_API inline constexpr hapax_type type = {
	sizeof(hapax_type), type_traits<T>::name, sizeof(T), alignof(T), type_traits<T>::flags,
	std::is_trivially_destructible_v<T> ? nullptr : &detail::destroy<T>, nullptr};

// Owns one strong reference to a T, or nothing. Moving hands it over; share() takes one more.
template <class T> class ref {
public:
	constexpr ref() noexcept = default;
	constexpr ref(std::nullptr_t) noexcept {}
	ref(const ref &) = delete;
	ref &operator=(const ref &) = delete;
	ref(ref &&other) noexcept : object_(other.release()) {}
	ref &operator=(ref &&other) noexcept
	{
		ref(std::move(other)).swap(*this);
		return *this;
	}
	~ref() { hapax_release(object_); }

	// Takes over a reference that the caller owns.
	[[nodiscard]] static ref adopt(void *object) noexcept
	{
		ref r;
		r.object_ = static_cast<T *>(object);
		return r;
	}
	// One more reference to an object that is held; empty if it cannot be had (hapax_retain).
	[[nodiscard]] static ref share_of(T *object) noexcept { return object && hapax_retain(object) == 0 ? adopt(object) : ref(); }
	[[nodiscard]] ref share() const noexcept { return share_of(object_); }

	// Gives the reference to the caller.
	[[nodiscard]] T *release() noexcept { return std::exchange(object_, nullptr); }
	void reset() noexcept { ref().swap(*this); }
	void swap(ref &other) noexcept { std::swap(object_, other.object_); }

	T *get() const noexcept { return object_; }
	T &operator*() const noexcept { return *object_; }
	T *operator->() const noexcept { return object_; }
	explicit operator bool() const noexcept { return object_ != nullptr; }
	friend bool operator==(const ref &a, const ref &b) noexcept { return a.object_ == b.object_; }
	friend bool operator!=(const ref &a, const ref &b) noexcept { return a.object_ != b.object_; }

private:
	T *object_ = nullptr;
};

// A new object that is in no cache: 0 and `out`, or why not (hapax_new); `out` is empty then. `env` NULL: the default one.
// A constructor that may throw runs before there is an object, which is then moved in; so T's move may not throw. Types for which
// neither holds are constructed by loaders (hapax/cache.hpp). What the constructor throws is the caller's.
template <class T, class... Args> [[nodiscard]] int make(hapax_env *env, ref<T> &out, Args &&...args)
{
	constexpr bool in_place = std::is_nothrow_constructible_v<T, Args...>;
	static_assert(in_place || std::is_nothrow_move_constructible_v<T>, "construct this type in a cache's loader");
	void *object = nullptr;
	int status;

	if constexpr (in_place) {
		status = hapax_new(env, &type<T>, 0, &object);
		if (status == 0)
			::new (object) T(std::forward<Args>(args)...);
	} else {
		T value(std::forward<Args>(args)...);

		status = hapax_new(env, &type<T>, 0, &object);
		if (status == 0)
			::new (object) T(std::move(value));
	}
	out = ref<T>::adopt(object);
	return status;
}

// Owns a weak handle, or nothing.
template <class T> class weak {
public:
	constexpr weak() noexcept = default;
	weak(const weak &) = delete;
	weak &operator=(const weak &) = delete;
	weak(weak &&other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
	weak &operator=(weak &&other) noexcept
	{
		weak(std::move(other)).swap(*this);
		return *this;
	}
	~weak() { reset(); }

	// 0, or why not (hapax_weak_new); `out` is replaced only with 0.
	[[nodiscard]] static int of(const ref<T> &object, weak &out) noexcept { return create(object, nullptr, out); }

	// With a function, called without arguments once when the object has died, on the thread of that death; not any more
	// once the handle has gone. A function that throws ends the program.
	template <class F> [[nodiscard]] static int of(const ref<T> &object, F on_death, weak &out)
	{
		F *function = new (std::nothrow) F(std::move(on_death));
		hapax_callback callback{};
		int status = HAPAX_ENOMEM;

		callback.fn = [](hapax_weak *, void *ctx) noexcept { (*static_cast<F *>(ctx))(); };
		callback.ctx = function;
		callback.ctx_free = [](void *ctx) noexcept { delete static_cast<F *>(ctx); };
		if (function)
			status = create(object, &callback, out);
		if (status != 0)
			delete function;
		return status;
	}

	// The object if it is alive.
	[[nodiscard]] ref<T> get() const noexcept { return ref<T>::adopt(hapax_weak_get(handle_)); }
	bool alive() const noexcept { return hapax_weak_alive(handle_); }
	// As hapax_weak_drop(): afterwards its function is not running, unless this is called from inside user code of hapax's.
	void reset() noexcept
	{
		if (handle_)
			hapax_weak_drop(std::exchange(handle_, nullptr));
	}
	void swap(weak &other) noexcept { std::swap(handle_, other.handle_); }
	hapax_weak *raw() const noexcept { return handle_; }

private:
	static int create(const ref<T> &object, const hapax_callback *callback, weak &out) noexcept
	{
		hapax_weak *handle = nullptr;
		int status = hapax_weak_new(object.get(), callback, &handle);

		if (status == 0) {
			weak fresh;
			fresh.handle_ = handle;
			fresh.swap(out);
		}
		return status;
	}

	hapax_weak *handle_ = nullptr;
};

} // namespace hapax

#endif
