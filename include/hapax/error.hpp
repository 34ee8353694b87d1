// SPDX-License-Identifier: LGPL-2.1-or-later
//
// hapax/error.hpp - how exceptions and the errors of loads become each other.
//
// Exceptions never cross the library's frames: what a loader throws is caught where the library called it and becomes
// HAPAX_LOAD_FAIL; the exception travels in the load error to everybody who waited, and can be thrown again there. (pthread_exit and
// cancellation are no exceptions, and are let through: the load is abandoned then, as in C.) Several threads may so handle
// one exception object at once: they read it.
//
#ifndef HAPAX_ERROR_HPP
#define HAPAX_ERROR_HPP

#include <hapax/hapax.h>

#include <climits>
#include <exception>
#include <new>
#include <stdexcept>
#include <utility>

namespace hapax {

// hapax_load_error.code of a loader that threw.
inline constexpr int thrown = INT_MIN;

// A status that is no success, where something throws (cache::get_or_throw). `code` is the load error's.
class failure : public std::runtime_error {
public:
	explicit failure(int status, int code = 0) : std::runtime_error(hapax_status_text(status)), status_(status), code_(code) {}
	int status() const noexcept { return status_; }
	int code() const noexcept { return code_; }

private:
	int status_, code_;
};

namespace detail {

// One for the whole program: it says what `detail` is.
HAPAX_API inline void drop_exception(void *detail) noexcept { delete static_cast<std::exception_ptr *>(detail); }

// In a handler: puts the exception into `error`. Without memory only its code is left of it.
inline void keep_exception(hapax_load_error &error) noexcept
{
	auto *exception = new (std::nothrow) std::exception_ptr(std::current_exception());

	if (error.drop)
		error.drop(error.detail);
	error.code = thrown;
	error.detail = exception;
	error.drop = exception ? &drop_exception : nullptr;
}

// Runs body() for a C caller. When it throws, caught() is run in the handler, and `failed` is returned.
template <class Body, class Caught> int guarded(int failed, Body &&body, Caught &&caught)
{
	try {
		return body();
	} catch (...) {
		if (!std::current_exception()) // pthread_exit, cancellation: nobody may keep those
			throw;
		caught();
		return failed;
	}
}

} // namespace detail

// A copy of a failed load's error, or nothing.
class load_error {
public:
	load_error() noexcept = default;
	// Takes over what the caller owns.
	explicit load_error(hapax_load_error &&error) noexcept : error_(std::exchange(error, hapax_load_error{})) {}
	load_error(load_error &&other) noexcept : error_(std::exchange(other.error_, hapax_load_error{})) {}
	load_error &operator=(load_error &&other) noexcept
	{
		load_error moved(std::move(other));
		std::swap(error_, moved.error_);
		return *this;
	}
	~load_error() { hapax_load_error_drop(&error_); }

	int code() const noexcept { return error_.code; }
	void *detail() const noexcept { return error_.detail; }
	// What the loader threw; null if it did not, or if this was answered during the back-off after it.
	std::exception_ptr exception() const noexcept
	{
		return error_.drop == &detail::drop_exception ? *static_cast<std::exception_ptr *>(error_.detail) : nullptr;
	}
	// Throws what the loader threw, or else a failure with this status and code.
	[[noreturn]] void rethrow(int status) const
	{
		if (std::exception_ptr e = exception())
			std::rethrow_exception(std::move(e));
		throw failure(status, code());
	}
	// For calls that fill it in; what it held is dropped.
	hapax_load_error *fill() noexcept
	{
		hapax_load_error_drop(&error_);
		return &error_;
	}

private:
	hapax_load_error error_{};
};

} // namespace hapax

#endif
