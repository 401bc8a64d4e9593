// The border to Python, part of bindings.cpp: options become a PixelPlan, draws become arrays.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <stdexcept>
#include <string>
#include <vector>

#include "pixel_kernel.h"

namespace selfie::border {

namespace py = pybind11;

using Indices = py::array_t<std::int64_t, py::array::c_style>;
using Weights = py::array_t<double, py::array::c_style>;
using Pixels = py::array_t<std::uint8_t, py::array::c_style>;

template <class Enum>
Enum choice(const char* what, const std::string& name,
            std::initializer_list<std::pair<const char*, Enum>> known) {
    std::string names;
    for (const auto& [text, value] : known) {
        if (name == text) return value;
        names += std::string(names.empty() ? "" : ", ") + text;
    }
    throw std::invalid_argument(std::string(what) + " must be one of " + names + ", got " + name);
}

// The options of a plan, by name. This is the one place where they cross the border: make_plan() in
// loading/reader.py gives them, PlanOptions in _core.pyi declares their types. An unknown, missing or
// mistyped one is a TypeError.
class PlanOptions {
  public:
    explicit PlanOptions(const py::kwargs& given) : left_(given.attr("copy")()) {}

    template <class T>
    T take(const char* name) {
        if (!left_.contains(name)) throw py::type_error(std::string("PixelPlan needs the option ") + name);
        const py::object value = left_.attr("pop")(name);
        try {
            return value.cast<T>();
        } catch (const py::cast_error&) {
            throw py::type_error(std::string("PixelPlan cannot take ") + name + " = " +
                                 py::repr(value).cast<std::string>());
        }
    }

    template <class Enum>
    Enum take(const char* name, std::initializer_list<std::pair<const char*, Enum>> known) {
        return choice<Enum>(name, take<std::string>(name), known);
    }

    void expect_none_left() const {
        for (const auto& [name, value] : left_)
            throw py::type_error("PixelPlan has no option " + py::str(name).cast<std::string>());
    }

  private:
    py::dict left_;
};

inline PixelPlan make_plan(const py::kwargs& given) {
    PlanOptions options(given);
    PixelPlan plan;
    plan.layout = make_layout(options.take<std::int64_t>("channels"), options.take<std::int64_t>("height"),
                              options.take<std::int64_t>("width"));
    AugmentOptions& augment = plan.augment;
    augment.pad = options.take<std::int64_t>("pad");
    augment.pad_mode =
        options.take<PadMode>("pad_mode", {{"zeros", PadMode::kZeros}, {"reflect", PadMode::kReflect}});
    augment.crop_height = options.take<std::int64_t>("crop_height");
    augment.crop_width = options.take<std::int64_t>("crop_width");
    augment.flip = options.take<FlipMode>(
        "flip",
        {{"none", FlipMode::kNone}, {"random", FlipMode::kRandom}, {"alternate", FlipMode::kAlternate}});
    augment.brightness = options.take<double>("brightness");
    augment.contrast_low = options.take<double>("contrast_low");
    augment.contrast_high = options.take<double>("contrast_high");
    augment.cutout = options.take<std::int64_t>("cutout");
    augment.crop_at_center = options.take<bool>("crop_at_center");
    augment.resize_height = options.take<std::int64_t>("resize_height");
    augment.resize_width = options.take<std::int64_t>("resize_width");
    augment.resize_crop = options.take<bool>("resize_crop");
    augment.antialias = options.take<bool>("antialias");
    augment.scale_low = options.take<double>("scale_low");
    augment.scale_high = options.take<double>("scale_high");
    augment.ratio_low = options.take<double>("ratio_low");
    augment.ratio_high = options.take<double>("ratio_high");
    augment.saturation_low = options.take<double>("saturation_low");
    augment.saturation_high = options.take<double>("saturation_high");
    augment.hue = options.take<double>("hue");
    augment.grayscale = options.take<double>("grayscale");
    augment.erase = options.take<double>("erase");
    augment.erase_scale_low = options.take<double>("erase_scale_low");
    augment.erase_scale_high = options.take<double>("erase_scale_high");
    augment.erase_ratio_low = options.take<double>("erase_ratio_low");
    augment.erase_ratio_high = options.take<double>("erase_ratio_high");
    plan.normalize.mode =
        options.take<NormalizeMode>("normalize", {{"none", NormalizeMode::kNone},
                                                  {"per_image", NormalizeMode::kPerImage},
                                                  {"per_channel", NormalizeMode::kPerChannel}});
    plan.normalize.mean = options.take<std::vector<double>>("mean");
    plan.normalize.std = options.take<std::vector<double>>("std");
    plan.type = options.take<PixelType>("dtype", {{"float32", PixelType::kFloat32},
                                                  {"float16", PixelType::kFloat16},
                                                  {"bfloat16", PixelType::kBfloat16},
                                                  {"uint8", PixelType::kUint8}});
    plan.channels_last = options.take<bool>("channels_last");
    plan.views = options.take<std::uint32_t>("views");
    if (plan.views < 1 || plan.views > kMaxViews)
        throw std::invalid_argument("views must be in 1.." + std::to_string(kMaxViews) + ", got " +
                                    std::to_string(plan.views));
    options.expect_none_left();
    check_augment(augment, plan.layout);
    if (plan.normalize.mode == NormalizeMode::kPerChannel &&
        (plan.normalize.mean.size() != plan.layout.channels ||
         plan.normalize.std.size() != plan.layout.channels))
        throw std::invalid_argument("mean and std need one value per channel, got " +
                                    std::to_string(plan.normalize.mean.size()) + " and " +
                                    std::to_string(plan.normalize.std.size()) + " for " +
                                    std::to_string(plan.layout.channels) + " channels");
    return plan;
}

// The draws of some records as arrays, by the names of Draws in loading/reader.py.
inline py::dict draws(const PixelPlan& plan, std::uint64_t seed, std::uint64_t epoch, const Indices& indices,
                      std::uint32_t view) {
    std::vector<Draw> drawn;
    drawn.reserve(static_cast<std::size_t>(indices.size()));
    for (py::ssize_t i = 0; i < indices.size(); ++i)
        drawn.push_back(draw_augmentation(
            plan.augment, plan.layout, {seed, epoch, static_cast<std::uint64_t>(indices.data()[i]), view}));
    py::dict out;
    const auto add = [&](const char* name, auto member) {
        py::array_t<std::decay_t<decltype(drawn[0].*member)>> values(indices.size());
        for (std::size_t i = 0; i < drawn.size(); ++i) values.mutable_data()[i] = drawn[i].*member;
        out[name] = std::move(values);
    };
    add("top", &Draw::top);
    add("left", &Draw::left);
    add("flip", &Draw::flip);
    add("brightness", &Draw::brightness);
    add("contrast", &Draw::contrast);
    add("cutout_top", &Draw::cutout_top);
    add("cutout_left", &Draw::cutout_left);
    add("height", &Draw::height);
    add("width", &Draw::width);
    add("saturation", &Draw::saturation);
    add("hue", &Draw::hue);
    add("grayscale", &Draw::grayscale);
    add("erase_top", &Draw::erase_top);
    add("erase_left", &Draw::erase_left);
    add("erase_height", &Draw::erase_height);
    add("erase_width", &Draw::erase_width);
    py::array_t<float> colour({indices.size(), py::ssize_t{3}, py::ssize_t{3}});
    for (std::size_t i = 0; i < drawn.size(); ++i)
        std::copy_n(drawn[i].colour.at, 9, colour.mutable_data() + 9 * i);
    out["colour"] = std::move(colour);
    return out;
}

}  // namespace selfie::border
