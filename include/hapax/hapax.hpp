// SPDX-License-Identifier: LGPL-2.1-or-later
//
// hapax/hapax.hpp - thin C++17 handles over hapax/hapax.h: a move-only strong reference, a weak reference, a typed get.
//
// Nothing here throws. Exceptions may pass through loaders: the load is then abandoned (hapax/cache.h).
//
#ifndef HAPAX_HAPAX_HPP
#define HAPAX_HAPAX_HPP

#include <hapax/hapax.h>

#include <cstddef>
#include <string_view>
#include <utility>

namespace hapax {

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
	static ref adopt(void *object) noexcept
	{
		ref r;
		r.object_ = static_cast<T *>(object);
		return r;
	}
	// One more reference to an object that is held; empty if it cannot be had (hapax_retain).
	static ref share_of(T *object) noexcept { return object && hapax_retain(object) == 0 ? adopt(object) : ref(); }
	ref share() const noexcept { return share_of(object_); }

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

// Owns a weak handle without a callback, or nothing.
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
	~weak()
	{
		if (handle_)
			hapax_weak_drop(handle_);
	}

	// 0, or why not (hapax_weak_new); `out` is replaced only with 0.
	[[nodiscard]] static int of(const ref<T> &object, weak &out) noexcept
	{
		hapax_weak *handle = nullptr;
		int status = hapax_weak_new(object.get(), nullptr, &handle);
		if (status == 0) {
			weak fresh;
			fresh.handle_ = handle;
			fresh.swap(out);
		}
		return status;
	}
	// The object if it is alive.
	ref<T> get() const noexcept { return ref<T>::adopt(hapax_weak_get(handle_)); }
	bool alive() const noexcept { return hapax_weak_alive(handle_); }
	void swap(weak &other) noexcept { std::swap(handle_, other.handle_); }

private:
	hapax_weak *handle_ = nullptr;
};

inline hapax_key key(std::string_view text) noexcept { return hapax_key_bytes(text.data(), text.size()); }

// hapax_cache_get for a cache of T: `out` is empty unless 0 is returned.
template <class T> [[nodiscard]] int get(hapax_cache *cache, hapax_key key, ref<T> &out) noexcept(false)
{
	void *object = nullptr;
	int status = hapax_cache_get(cache, key, &object);
	out = ref<T>::adopt(object);
	return status;
}

template <class T>
[[nodiscard]] int get(hapax_cache *cache, hapax_key key, const hapax_get_options &options, ref<T> &out) noexcept(false)
{
	void *object = nullptr;
	int status = hapax_cache_get_with(cache, key, &options, &object);
	out = ref<T>::adopt(object);
	return status;
}

// hapax_new: `out` is empty unless 0 is returned.
template <class T> [[nodiscard]] int make(hapax_env *env, const hapax_type &type, ref<T> &out, std::size_t extra = 0) noexcept
{
	void *object = nullptr;
	int status = hapax_new(env, &type, extra, &object);
	out = ref<T>::adopt(object);
	return status;
}

} // namespace hapax

#endif
