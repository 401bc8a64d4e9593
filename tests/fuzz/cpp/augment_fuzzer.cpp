// Fuzzes the windows of the augmentation: any options that the checks accept give draws within the image,
// and images that are decoded without a byte outside the buffers. Only std::invalid_argument may come out.
#include <algorithm>
#include <stdexcept>
#include <vector>

#include "decode_steps.h"
#include "fuzz_input.h"

using namespace selfie;

namespace {

constexpr std::size_t kMaxBytes = 1 << 18;

// A number in low..high for most inputs, else any one, infinities and NaN among them.
double number(FuzzInput& input, double low, double high) {
    if (input.take<std::uint8_t>() % 16 == 15) return input.take<double>();
    return low + (high - low) * static_cast<double>(input.take<std::uint8_t>()) / 255;
}

PixelPlan take_plan(FuzzInput& input) {
    PixelPlan plan;
    plan.layout = make_layout(input.size(1, 4), input.size(1, 40), input.size(1, 40));
    AugmentOptions& augment = plan.augment;
    augment.crop_height = input.size(1, 50);
    augment.crop_width = input.size(1, 50);
    augment.pad_mode = input.flag() ? PadMode::kReflect : PadMode::kZeros;
    augment.flip = static_cast<FlipMode>(input.take<std::uint8_t>() % 3);
    augment.cutout = input.size(0, 60);
    augment.crop_at_center = input.flag();
    const int kind = input.take<std::uint8_t>() % 4;
    if (kind == 0) augment.pad = input.size(0, 12);
    if (kind == 1 || kind == 3) {
        augment.resize_height = input.size(0, 60);
        augment.resize_width = input.size(0, 60);
    }
    if (kind >= 2) {
        augment.resize_crop = true;
        augment.scale_low = number(input, 0.01, 0.5);
        augment.scale_high = number(input, 0.5, 1);
        augment.ratio_low = number(input, 0.1, 1);
        augment.ratio_high = number(input, 1, 9);
    }
    augment.antialias = input.flag();
    augment.brightness = number(input, 0, 63);
    augment.contrast_low = number(input, 0.2, 1);
    augment.contrast_high = number(input, 1, 1.8);
    if (input.flag()) {
        augment.saturation_low = number(input, 0, 1);
        augment.saturation_high = number(input, 1, 2);
        augment.hue = number(input, 0, 0.5);
        augment.grayscale = number(input, 0, 1);
    }
    augment.erase = number(input, 0, 1);
    augment.erase_scale_low = number(input, 0.02, 0.3);
    augment.erase_scale_high = number(input, 0.3, 1);
    augment.erase_ratio_low = number(input, 0.1, 1);
    augment.erase_ratio_high = number(input, 1, 3);
    plan.normalize.mode = static_cast<NormalizeMode>(input.take<std::uint8_t>() % 3);
    if (plan.normalize.mode == NormalizeMode::kPerChannel) {
        plan.normalize.mean.assign(plan.layout.channels, number(input, 0, 1));
        plan.normalize.std.assign(plan.layout.channels, number(input, 0.01, 1));
    }
    plan.type = static_cast<PixelType>(input.take<std::uint8_t>() % 4);
    plan.channels_last = input.flag();
    plan.views = 1 + input.take<std::uint8_t>() % 3;
    return plan;
}

bool within(std::int64_t begin, std::int64_t length, std::int64_t low, std::int64_t high) {
    return begin >= low && length >= 1 && begin + length <= high;
}

void check_draw(const PixelPlan& plan, const Draw& draw) {
    const AugmentOptions& augment = plan.augment;
    const bool resized = augment.resize_height > 0;
    const auto height = resized ? augment.resize_height : static_cast<std::int64_t>(plan.layout.height);
    const auto width = resized ? augment.resize_width : static_cast<std::int64_t>(plan.layout.width);
    const std::int64_t pad = augment.pad;
    expect(within(draw.top, draw.height, -pad, height + pad), "a window lies in the padded image's rows");
    expect(within(draw.left, draw.width, -pad, width + pad), "a window lies in the padded image's columns");
    if (draw.erase_height == 0) return;
    expect(within(draw.erase_top, draw.erase_height, 0, augment.crop_height), "a rectangle lies in the rows");
    expect(draw.erase_left >= 0 && draw.erase_width >= 0 &&
               draw.erase_left + draw.erase_width <= augment.crop_width,
           "a rectangle lies in the columns");
}

void decode(FuzzInput& input) {
    const PixelPlan plan = take_plan(input);
    check_augment(plan.augment, plan.layout);
    const auto seed = input.take<std::uint64_t>();
    const std::uint64_t epoch = input.take<std::uint32_t>();
    std::vector<std::int64_t> indices(1 + input.take<std::uint8_t>() % 3);
    for (std::int64_t& index : indices) index = input.take<std::int64_t>();
    for (const std::int64_t index : indices)
        for (std::uint32_t view = 0; view < plan.views; ++view)
            check_draw(plan, draw_augmentation(plan.augment, plan.layout,
                                               {seed, epoch, static_cast<std::uint64_t>(index), view}));
    const std::size_t values = plan.image_values();
    if (values > kMaxBytes || plan.images_bytes(indices.size()) > kMaxBytes ||
        plan.scratch_bytes() > kMaxBytes)
        return;
    // Exactly as many bytes as the records have: one beyond them is seen.
    std::vector<std::uint8_t> pixels(indices.size() * plan.layout.pixel_bytes());
    for (std::uint8_t& pixel : pixels) pixel = input.take<std::uint8_t>();
    BufferPool pool(plan.images_bytes(indices.size()), 1);
    decode_images(plan, pool, seed, epoch, indices.data(), indices.size(), pixels.data());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t count) {
    FuzzInput input(bytes, count);
    try {
        decode(input);
    } catch (const std::invalid_argument&) {
    }
    return 0;
}
