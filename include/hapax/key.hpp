// SPDX-License-Identifier: LGPL-2.1-or-later
//
// hapax/key.hpp - C++ types as keys: text, and values whose bytes are their identity.
//
// A type of its own becomes a key by a specialisation of key_traits: to() gives the bytes, which have to stay as long as the
// argument does; from() makes the key that callables get, from bytes that stay during the call.
//
#ifndef HAPAX_KEY_HPP
#define HAPAX_KEY_HPP

#include <hapax/hapax.h>

#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>

namespace hapax {

// Integers, enumerations, and structures without padding.
template <class Key> struct key_traits {
	static_assert(std::is_trivially_copyable_v<Key> && std::has_unique_object_representations_v<Key>,
		      "equal keys have to have equal bytes: specialise hapax::key_traits");

	static hapax_key to(const Key &key) noexcept { return hapax_key_bytes(&key, sizeof(key)); }
	static Key from(const hapax_key &bytes) noexcept
	{
		Key key{};

		std::memcpy(&key, bytes.data, bytes.size < sizeof(key) ? bytes.size : sizeof(key));
		return key;
	}
};

template <> struct key_traits<std::string_view> {
	static hapax_key to(std::string_view key) noexcept { return hapax_key_bytes(key.data(), key.size()); }
	static std::string_view from(const hapax_key &bytes) noexcept
	{
		return {static_cast<const char *>(bytes.data), bytes.size};
	}
};

template <> struct key_traits<std::string> {
	static hapax_key to(const std::string &key) noexcept { return hapax_key_bytes(key.data(), key.size()); }
	static std::string from(const hapax_key &bytes) { return {static_cast<const char *>(bytes.data), bytes.size}; }
};

} // namespace hapax

#endif
