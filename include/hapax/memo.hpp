// SPDX-License-Identifier: LGPL-2.1-or-later
//
// hapax/memo.hpp - hapax::memo<R(Args...)>: results of a function, computed once for equal arguments (hapax/memo.h); with an owner
// type, hapax::memo<R(Args...), Owner>, they belong to owners and die with them. And hapax::weak_map<K, V> (hapax/weak_map.h).
//
// Arguments are integers, enumerations, bool, floating-point numbers and text (std::string_view). The function answers R or
// std::optional<R> (empty: no value), and may throw: then each caller that waited gets the exception.
//
#ifndef HAPAX_MEMO_HPP
#define HAPAX_MEMO_HPP

#include <hapax/cache.hpp>

#include <cstring>
#include <string_view>
#include <tuple>

namespace hapax {

namespace detail {

template <class A> hapax_arg argument(const A &value) noexcept
{
	if constexpr (std::is_same_v<A, bool>)
		return hapax_arg_bool(value);
	else if constexpr (std::is_enum_v<A>)
		return argument(static_cast<std::underlying_type_t<A>>(value));
	else if constexpr (std::is_integral_v<A> && std::is_signed_v<A>)
		return hapax_arg_int(value);
	else if constexpr (std::is_integral_v<A>)
		return hapax_arg_uint(value);
	else if constexpr (std::is_floating_point_v<A>)
		return hapax_arg_double(value);
	else
		return hapax_arg_bytes(value.data(), value.size(), HAPAX_TAG_STRING);
}

template <class A> A argument_from(const hapax_arg &arg) noexcept
{
	if constexpr (std::is_same_v<A, std::string_view>) {
		return {static_cast<const char *>(hapax_arg_data(&arg)), arg.size};
	} else if constexpr (std::is_floating_point_v<A>) {
		return static_cast<A>(arg.value.d);
	} else {
		static_assert(std::is_integral_v<A> || std::is_enum_v<A>, "no argument of a memo");
		return static_cast<A>(arg.value.i);
	}
}

} // namespace detail

template <class Signature, class Owner = void> class memo;

template <class R, class... Args, class Owner> class memo<R(Args...), Owner> {
	static constexpr bool owned = !std::is_void_v<Owner>;
	using owner_arg = std::conditional_t<owned, Owner, int>;

public:
	constexpr memo() noexcept = default;
	memo(memo &&other) noexcept : memo_(std::exchange(other.memo_, nullptr)) {}
	memo &operator=(memo &&other) noexcept
	{
		memo moved(std::move(other));
		std::swap(memo_, moved.memo_);
		return *this;
	}
	~memo() { hapax_memo_destroy(memo_); }

	static hapax_memo_options options() noexcept
	{
		hapax_memo_options o{};

		o.size = sizeof(o);
		o.flags = owned ? HAPAX_MEMO_OWNED : 0;
		return o;
	}

	// 0, or why not (hapax_memo_create; HAPAX_EOPTION also when `options` has a function or type of its own, or is not options()
	// of this memo as to owners). The function gets the arguments, after Owner & if there are owners.
	template <class F> [[nodiscard]] static int create(memo &out, hapax_memo_options options, F function)
	{
		memo fresh;
		int status;

		if (options.type || options.compute || options.make || options.ctx || options.ctx_free ||
		    !!(options.flags & HAPAX_MEMO_OWNED) != owned)
			return HAPAX_EOPTION;
		auto kept = std::make_unique<F>(std::move(function));

		options.type = &type<R>;
		options.compute = &compute<F>;
		options.ctx = kept.get();
		options.ctx_free = [](void *ctx) noexcept { delete static_cast<F *>(ctx); };
		status = hapax_memo_create(&fresh.memo_, &options);
		if (status == 0) {
			(void)kept.release();
			std::swap(out.memo_, fresh.memo_);
		}
		return status;
	}

	// hapax_memo_call(): `out` is empty unless 0 is returned.
	[[nodiscard]] int call(ref<R> &out, const Args &...args)
	{
		static_assert(!owned, "this memo's calls name an owner");
		return call_as(nullptr, out, nullptr, args...);
	}
	[[nodiscard]] int call(const ref<owner_arg> &owner, ref<R> &out, const Args &...args)
	{
		static_assert(owned, "this memo has no owners");
		return call_as(owner.get(), out, nullptr, args...);
	}
	// The result; empty: there is none. Throws what the function threw, or else a hapax::failure.
	[[nodiscard]] ref<R> operator()(const Args &...args)
	{
		static_assert(!owned, "this memo's calls name an owner");
		return call_or_throw(nullptr, args...);
	}
	[[nodiscard]] ref<R> operator()(const ref<owner_arg> &owner, const Args &...args)
	{
		static_assert(owned, "this memo has no owners");
		return call_or_throw(owner.get(), args...);
	}
	void close() { hapax_memo_close(memo_); }
	explicit operator bool() const noexcept { return memo_ != nullptr; }
	hapax_memo *raw() const noexcept { return memo_; }

private:
	int call_as(void *owner, ref<R> &out, load_error *why, const Args &...args)
	{
		const std::array<hapax_arg, sizeof...(Args) + 1> list = {detail::argument(args)..., hapax_arg_int(0)};
		hapax_memo_call_options options{};
		void *object = nullptr;
		int status;

		options.size = sizeof(options);
		options.deadline = HAPAX_FOREVER;
		options.error = why ? why->fill() : nullptr;
		status = hapax_memo_call_with(memo_, owner, list.data(), sizeof...(Args), &options, &object);
		out = ref<R>::adopt(object);
		return status;
	}

	ref<R> call_or_throw(void *owner, const Args &...args)
	{
		ref<R> out;
		load_error why;
		int status = call_as(owner, out, &why, args...);

		if (status != HAPAX_OK && status != HAPAX_NOVALUE)
			why.rethrow(status);
		return out;
	}

	template <class F, std::size_t... I>
	static decltype(auto) apply(F &function, void *owner, const hapax_arg *args, std::index_sequence<I...>)
	{
		(void)args;
		if constexpr (owned)
			return function(*static_cast<Owner *>(owner), detail::argument_from<Args>(args[I])...);
		else
			return function(detail::argument_from<Args>(args[I])...);
	}

	template <class F>
	static int compute(void *result, void *owner, const hapax_arg *args, std::size_t, void *ctx, hapax_load_error *error)
	{
		using indices = std::index_sequence_for<Args...>;

		return detail::guarded(
			HAPAX_LOAD_FAIL,
			[&]() -> int {
				return detail::construct<R>(result, [&]() -> decltype(auto) {
					return apply(*static_cast<F *>(ctx), owner, args, indices());
				});
			},
			[&]() { detail::keep_exception(*error); });
	}

	hapax_memo *memo_ = nullptr;
};

// Data attached to objects: it goes when they die (hapax/weak_map.h, where each call is described).
template <class K, class V> class weak_map {
public:
	constexpr weak_map() noexcept = default;
	weak_map(weak_map &&other) noexcept : map_(std::exchange(other.map_, nullptr)) {}
	weak_map &operator=(weak_map &&other) noexcept
	{
		weak_map moved(std::move(other));
		std::swap(map_, moved.map_);
		return *this;
	}
	~weak_map() { hapax_weak_map_destroy(map_); }

	// `options` NULL: all defaults.
	[[nodiscard]] static int create(weak_map &out, const hapax_weak_map_options *options = nullptr) noexcept
	{
		weak_map fresh;
		int status = hapax_weak_map_create(&fresh.map_, options);

		if (status == 0)
			std::swap(out.map_, fresh.map_);
		return status;
	}
	[[nodiscard]] int put(const ref<K> &key, const ref<V> &data) { return hapax_weak_map_put(map_, key.get(), data.get()); }
	[[nodiscard]] int get(const ref<K> &key, ref<V> &out)
	{
		void *data = nullptr;
		int status = hapax_weak_map_get(map_, key.get(), &data);

		out = ref<V>::adopt(data);
		return status;
	}
	int remove(const ref<K> &key) { return hapax_weak_map_remove(map_, key.get()); }
	int contains(const ref<K> &key) { return hapax_weak_map_contains(map_, key.get()); }
	std::size_t size() { return hapax_weak_map_size(map_); }
	void clear() { hapax_weak_map_clear(map_); }
	hapax_weak_map *raw() const noexcept { return map_; }

private:
	hapax_weak_map *map_ = nullptr;
};

} // namespace hapax

#endif
