// SPDX-License-Identifier: LGPL-2.1-or-later
// What the C++ tests share: a check, and a type that counts its instances.
#ifndef TEST_API_HPP
#define TEST_API_HPP

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <hapax/hapax.hpp>

#define CHECK(condition) check((condition), __FILE__, __LINE__, #condition)

inline void check(bool holds, const char *file, int line, const char *what)
{
	if (holds)
		return;
	std::fprintf(stderr, "%s:%d: failed: %s\n", file, line, what);
	std::exit(1);
}

// Neither copied nor moved; its constructor throws for "bad". All it has is its own: leaks and early ends are seen.
struct thing {
	static inline std::atomic<int> made{0}, alive{0};
	std::string text;
	std::vector<int> more;

	explicit thing(std::string_view t) : text(t), more(100, 7)
	{
		if (text == "bad")
			throw std::invalid_argument("bad text");
		made++;
		alive++;
	}
	// Without exceptions: what hapax::make() needs of a type that cannot be moved.
	explicit thing(int n) noexcept : text(std::to_string(n)) { made++, alive++; }
	thing(const thing &) = delete;
	thing &operator=(const thing &) = delete;
	~thing() { alive--; }
};

// What C programs and older code do: a plain type and loader.
struct value {
	int number;
};

#endif
