// What the C++ tests share: how a failure is told, and the plan that changes nothing.
#pragma once

#include <cstdint>
#include <cstdio>
#include <string>

#include "pixel_kernel.h"

inline int failures = 0;

inline void check(bool good, const std::string& what) {
    if (good) return;
    ++failures;
    std::printf("FAILED: %s\n", what.c_str());
}

template <class Error, class Call>
void check_throws(Call call, const std::string& what) {
    try {
        call();
    } catch (const Error&) {
        return;
    }
    check(false, what + " must be refused");
}

inline selfie::PixelPlan make_plan(const selfie::RecordLayout& layout) {
    selfie::PixelPlan plan;
    plan.layout = layout;
    plan.augment.crop_height = static_cast<std::int64_t>(layout.height);
    plan.augment.crop_width = static_cast<std::int64_t>(layout.width);
    return plan;
}

// pixels_test.cpp
void test_pixels();
void test_sums();

// resize_colour_test.cpp
void test_resize_and_colour();
void test_one_resized_side();

// lost_files_test.cpp
void test_lost_files();

// read_ahead_test.cpp
void test_reading_ahead();
void test_reading_ahead_of_a_cut_file();
