"""The arithmetic of InCo in float64: printed numbers, laws, and an implementation written out in loops."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from strategies._inco import InCoOptions, apply_inco, combine

EPSILON = 1e-7
PRINTED = 1e-8  # numbers with eight digits
FULL = InCoOptions()
LAW = {"epsilon": 1e-300, "theta_max": 0.0, "clip": 0.0}  # the limit in which the laws hold


def kernel(**entries):
    """A 3x3 kernel of shape (1, 1, 3, 3); ``r0c2=0.1`` is row 0, column 2."""
    values = torch.zeros(1, 1, 3, 3, dtype=torch.float64)
    for place, value in entries.items():
        values[0, 0, int(place[1]), int(place[3])] = value
    return values


def double(*values):
    return torch.tensor(values, dtype=torch.float64)


def inco(update, reference, **options):
    return combine(update, reference, InCoOptions(**options))[0]


def theta(update, reference, **options):
    return combine(update, reference, InCoOptions(**options))[1]["theta"]


def non_zero(result, *places):
    """The entries at some places; all others must be zero."""
    found = [float(result[0, 0, row, column]) for row, column in places]
    assert result.count_nonzero() <= len(places)
    return found


def generator(seed):
    return torch.Generator().manual_seed(seed)


def random(*shape, seed=0, scale=1.0):
    return scale * torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def in_loops(update, reference, options):
    """InCo per kernel in Python floats, for convolution weights."""
    result = torch.zeros_like(update)
    for o, i in itertools.product(range(update.shape[0]), range(update.shape[1])):
        k, z = update[o, i].flatten().tolist(), reference[o, i].flatten().tolist()
        n_k, n_0 = math.sqrt(sum(x * x for x in k)), math.sqrt(sum(x * x for x in z))
        beta = sum(x * y for x, y in zip(k, z, strict=True))
        factor = min(abs(beta) / (n_0**2 + options.epsilon), options.theta_max) if options.optimise else 1.0
        if options.optimise and beta > 0 and options.sign_rule != "abs":
            factor = -factor if options.sign_rule == "paper-signed" else 0.0
        if options.normalise:
            mixed = [
                (x / (n_k + options.epsilon) + factor * y / (n_0 + options.epsilon)) * (n_k + n_0) / 2
                for x, y in zip(k, z, strict=True)
            ]
        else:
            mixed = [x + factor * y for x, y in zip(k, z, strict=True)]
        bounded = [max(-options.clip, min(options.clip, x)) for x in mixed]
        result[o, i] = torch.tensor(bounded, dtype=torch.float64).view(3, 3)
    return result


@pytest.mark.parametrize("scale", [1e-4, 1e-2, 1.0])
@pytest.mark.parametrize("sign_rule", ["abs", "paper-signed", "theorem"])
@pytest.mark.parametrize(("normalise", "optimise"), itertools.product([True, False], repeat=2))
def test_all_variants_are_what_loops_compute(sign_rule, normalise, optimise, scale):
    options = InCoOptions(sign_rule=sign_rule, normalise=normalise, optimise=optimise)
    update, reference = random(4, 3, 3, 3, seed=1, scale=scale), random(4, 3, 3, 3, seed=2, scale=scale)
    reference[0, 0] *= 1e-2  # theta is at its bound
    update[1, 1] = 0
    reference[2, 2] = 0
    update[3, 0] = reference[3, 0] = 0

    torch.testing.assert_close(
        combine(update, reference, options)[0], in_loops(update, reference, options), rtol=0, atol=1e-12
    )


class TestPrintedNumbers:
    def test_equal_norms(self):
        g_0, g_k = kernel(r0c0=0.03, r2c2=0.04), kernel(r0c0=0.04, r2c2=0.03)
        assert theta(g_k, g_0) == pytest.approx(0.95996160, abs=PRINTED)
        assert non_zero(inco(g_k, g_0), (0, 0), (2, 2)) == pytest.approx(
            [0.06879871, 0.06839833], abs=PRINTED
        )

    def test_opposed(self):
        g_0, g_k = kernel(r0c0=0.03, r2c2=0.04), -kernel(r0c0=0.04, r2c2=0.03)
        result = inco(g_k, g_0)
        assert theta(g_k, g_0) == pytest.approx(0.95996160, abs=PRINTED)
        assert non_zero(result, (0, 0), (2, 2)) == pytest.approx([-0.01120113, 0.00839845], abs=PRINTED)
        assert float((result * g_0).sum()) == pytest.approx(0, abs=1e-7)

    def test_the_constraint_is_not_guaranteed(self):
        g_0, g_k = kernel(r0c0=0.06, r0c1=0.08), kernel(r0c0=-0.03)
        result = inco(g_k, g_0)
        assert theta(g_k, g_0) == pytest.approx(0.17999820, abs=PRINTED)
        assert non_zero(result, (0, 0), (0, 1)) == pytest.approx([-0.05797986, 0.00935990], abs=PRINTED)
        assert float((result * g_0).sum()) == pytest.approx(-0.00273, abs=1e-6)
        plain = inco(g_k, g_0, normalise=False)
        assert non_zero(plain, (0, 0), (0, 1)) == pytest.approx([-0.01920011, 0.01439986], abs=PRINTED)
        assert float((plain * g_0).sum()) == pytest.approx(0, abs=1e-7)

    def test_bounds(self):
        g_k, g_0 = kernel(r0c0=0.08, r0c1=0.06), kernel(r0c0=0.004, r0c1=0.003)
        unclipped = inco(g_k, g_0, clip=0.0)
        assert theta(g_k, g_0) == 5
        assert non_zero(unclipped, (0, 0), (0, 1)) == pytest.approx([0.25199576, 0.18899682], abs=PRINTED)
        assert non_zero(inco(g_k, g_0), (0, 0), (0, 1)) == [0.1, 0.1]
        assert theta(g_k, g_0, theta_max=0.0) == pytest.approx(20, rel=0.01)

    def test_zeros(self):
        some, nothing = kernel(r0c0=0.02, r1c1=-0.01), kernel()
        result = inco(some, nothing)
        assert non_zero(result, (0, 0), (1, 1)) == pytest.approx([0.00999996, -0.00499998], abs=PRINTED)
        assert inco(nothing, some).count_nonzero() == 0
        assert inco(nothing, nothing).count_nonzero() == 0

    def test_identical_and_opposite(self):
        some = kernel(r0c0=0.02, r1c1=-0.01)
        places = ((0, 0), (1, 1))
        assert non_zero(inco(some, some), *places) == pytest.approx([0.03999582, -0.01999791], abs=PRINTED)
        signed = non_zero(inco(some, some, sign_rule="paper-signed"), *places)
        assert signed == pytest.approx([4e-6, -2e-6], abs=1e-6)
        assert torch.equal(inco(some, some, sign_rule="theorem", normalise=False), some)
        assert non_zero(inco(-some, some), *places) == pytest.approx([-4e-6, 2e-6], abs=1e-6)

    def test_orthogonal(self):
        result = inco(kernel(r0c0=0.02), kernel(r1c1=0.06))
        assert non_zero(result, (0, 0)) == pytest.approx([0.03999980], abs=PRINTED)

    @pytest.mark.parametrize(
        ("options", "positive", "negative"),
        [
            ({}, (0.06799914, 0.02399899), (-0.03200066, 0.02399899)),
            ({"sign_rule": "paper-signed"}, (0.03200066, -0.02399899), (-0.03200066, 0.02399899)),
            ({"sign_rule": "theorem"}, (0.04999990, 0), (-0.03200066, 0.02399899)),
            ({"sign_rule": "theorem", "normalise": False}, (0.05, 0), (-0.03200072, 0.02399904)),
            ({"optimise": False}, (0.07999984, 0.03999992), (-0.01999996, 0.03999992)),
            ({"normalise": False}, (0.06799928, 0.02399904), (-0.03200072, 0.02399904)),
            ({"normalise": False, "optimise": False}, (0.08, 0.04), (-0.02, 0.04)),
        ],
    )
    def test_matrix_of_rules(self, options, positive, negative):
        g_0, g_k = kernel(r0c0=0.03, r1c1=0.04), kernel(r0c0=0.05)
        if options.get("optimise", True):
            assert theta(g_k, g_0, **options) == pytest.approx(0.59997600, abs=PRINTED)
        for update, expected in ((g_k, positive), (-g_k, negative)):
            found = inco(update, g_0, **options)
            assert non_zero(found, (0, 0), (1, 1)) == pytest.approx(expected, abs=PRINTED)

    def test_granularity(self):
        g_0, g_k = torch.zeros(2, 1, 2, 3, 3, dtype=torch.float64)
        g_0[0, :, 0, 0], g_k[0, :, 0, 0] = double(0.03, 0.04), double(0.03, -0.01)
        # Each kernel's theta: that of the other one alone is 0.
        assert theta(g_k, g_0) == pytest.approx((0.99988890 + 0.24998438) / 2, abs=PRINTED)
        by_kernel = inco(g_k, g_0)[0, :, 0, 0].tolist()
        assert by_kernel == pytest.approx([0.05999647, -0.01875016], abs=PRINTED)
        assert theta(g_k, g_0, granularity="layer") == pytest.approx(0.19999200, abs=PRINTED)
        by_layer = inco(g_k, g_0, granularity="layer")[0, :, 0, 0].tolist()
        assert by_layer == pytest.approx([0.04361412, -0.00637611], abs=PRINTED)
        assert combine(g_k, g_0, FULL)[1]["layer_theta"] == pytest.approx(0.19999200, abs=PRINTED)

    def test_end_to_end(self):
        """Client A holds block 0 only; both clients' updates of it are averaged."""
        updates = {
            "layer1.0.conv2.weight": (kernel(r0c0=0.02) + kernel(r0c0=0.04)) / 2,
            "layer1.1.conv1.weight": kernel(r0c0=-0.01, r1c1=0.02),
        }
        targets = {"layer1.1.conv1.weight": "layer1.0.conv2.weight"}
        found, diagnostics = apply_inco(updates, targets)
        first, second = found.values()
        of_target = diagnostics["layer1.1.conv1.weight"]
        assert of_target["norm"] == pytest.approx(0.02236068, abs=PRINTED)
        assert of_target["layer_beta"] == pytest.approx(-0.0003, abs=1e-12)
        assert of_target["theta"] == pytest.approx(0.33329630, abs=PRINTED)
        assert non_zero(second, (0, 0), (1, 1)) == pytest.approx([-0.00298237, 0.02341630], abs=PRINTED)
        assert first is updates["layer1.0.conv2.weight"]
        assert non_zero(first, (0, 0)) == pytest.approx([0.03], abs=1e-12)

    def test_vectors_of_a_transformer(self):
        norm1 = double(0.1, -0.2, 0.2, 0.1)
        norm2 = double(0.3, 0.1, -0.1, 0.2)
        assert theta(norm2 / 5, norm1 / 5) == pytest.approx(0.09999750, abs=PRINTED)
        assert inco(norm2 / 5, norm1 / 5).tolist() == pytest.approx(
            [0.05671951, 0.01371557, -0.01371557, 0.03855457], abs=PRINTED
        )
        whole = [0.1, 0.06857739, -0.06857739, 0.1]
        assert inco(norm2, norm1).tolist() == pytest.approx(whole, abs=PRINTED)
        unclipped = inco(norm2, norm1, clip=0.0)
        assert unclipped[[0, 3]].tolist() == pytest.approx([0.28359813, 0.19277332], abs=PRINTED)


class TestLaws:
    update, reference = random(5, 4, 3, 3, seed=3), random(5, 4, 3, 3, seed=4)

    def test_joint_negation(self):
        assert torch.equal(inco(-self.update, -self.reference), -inco(self.update, self.reference))
        assert not torch.allclose(inco(-self.update, self.reference), -inco(self.update, self.reference))

    def test_permutations(self):
        flat = [value.reshape(20, 9) for value in (self.update, self.reference)]
        plain = inco(self.update, self.reference).reshape(20, 9)
        kernels, positions = (
            torch.randperm(20, generator=generator(0)),
            torch.randperm(9, generator=generator(1)),
        )
        moved = inco(*(value[kernels].reshape(5, 4, 3, 3) for value in flat)).reshape(20, 9)
        torch.testing.assert_close(moved, plain[kernels], rtol=0, atol=1e-12)
        moved = inco(*(value[:, positions].reshape(5, 4, 3, 3) for value in flat)).reshape(20, 9)
        torch.testing.assert_close(moved, plain[:, positions], rtol=0, atol=1e-12)

    def test_homogeneous_but_for_epsilon(self):
        once, scaled = (inco(c * self.update, c * self.reference, clip=0.0) for c in (1, 7))
        torch.testing.assert_close(scaled, 7 * once, rtol=1e-5, atol=1e-6)
        tiny = 1e-5
        small = inco(tiny * self.update, tiny * self.reference, clip=0.0)
        assert float((small / tiny - once).norm() / once.norm()) > 0.1

    def test_bounded(self):
        assert float(inco(10 * self.update, self.reference).abs().max()) == 0.1

    @pytest.mark.parametrize("c", [0.5, 1.0, 2.0, 4.0])
    def test_aligned_and_opposed(self, c):
        g_0 = random(1, 1, 3, 3, seed=5)
        torch.testing.assert_close(inco(c * g_0, g_0, **LAW), (1 + c) ** 2 / 2 * g_0, rtol=0, atol=1e-12)
        torch.testing.assert_close(inco(-c * g_0, g_0, **LAW), (c * c - 1) / 2 * g_0, rtol=0, atol=1e-12)

    def test_zero_reference_halves(self):
        found = inco(self.update, torch.zeros_like(self.update), **LAW)
        torch.testing.assert_close(found, self.update / 2, rtol=0, atol=1e-12)

    @given(
        st.lists(st.floats(-1, 1), min_size=9, max_size=9), st.lists(st.floats(-1, 1), min_size=9, max_size=9)
    )
    @settings(max_examples=60)
    def test_norm_is_bounded(self, first, second):
        g_k, g_0 = (torch.tensor(v, dtype=torch.float64).view(1, 1, 3, 3) for v in (first, second))
        bound = (1 + theta(g_k, g_0)) * (g_k.norm() + g_0.norm()) / 2
        result = inco(g_k, g_0, clip=0.0)
        assert bool(result.isfinite().all())
        assert float(result.norm()) <= float(bound) + 1e-12

    def test_theorem_without_normalisation_projects(self):
        options = {"sign_rule": "theorem", "normalise": False, **LAW}
        found = inco(self.update, self.reference, **options)
        inner = (found * self.reference).sum((-2, -1))
        against = (self.update * self.reference).sum((-2, -1)) < 0
        assert 0 < int(against.sum()) < 20
        torch.testing.assert_close(inner[against], torch.zeros_like(inner[against]), rtol=0, atol=1e-12)
        assert torch.equal(found[~against], self.update[~against])
        torch.testing.assert_close(inco(found, self.reference, **options), found, rtol=0, atol=1e-12)
        # The nearest point: what was added is orthogonal to the result's difference from any other point.
        added = found - self.update
        torch.testing.assert_close(
            (added * (found - 0)).sum((-2, -1)), torch.zeros(5, 4, dtype=torch.float64), rtol=0, atol=1e-12
        )

    def test_sign_rules_agree_where_the_inner_product_is_not_positive(self):
        results = [
            inco(self.update, self.reference, sign_rule=rule) for rule in ("abs", "paper-signed", "theorem")
        ]
        against = (self.update * self.reference).sum((-2, -1)) <= 0
        for first, second in itertools.combinations(results, 2):
            assert torch.equal(first[against], second[against])
            assert not torch.allclose(first[~against], second[~against])

    def test_nothing_changes_without_cross_term_and_normalisation_but_for_the_bounds(self):
        orthogonal = inco(kernel(r0c0=0.02), kernel(r1c1=0.06), normalise=False)
        assert torch.equal(orthogonal, kernel(r0c0=0.02))


class TestMappings:
    targets = {"deep": "shallow", "deeper": "shallow"}  # noqa: RUF012
    updates = {  # noqa: RUF012
        name: random(3, 3, 3, 3, seed=seed)
        for seed, name in enumerate(("shallow", "deep", "deeper", "other"))
    }

    def test_only_targets_change_and_nothing_is_written_to(self):
        before = {name: value.clone() for name, value in self.updates.items()}
        found, diagnostics = apply_inco(self.updates, self.targets)
        assert list(found) == list(self.updates)
        assert all(found[name] is self.updates[name] for name in ("shallow", "other"))
        assert all(torch.equal(self.updates[name], value) for name, value in before.items())
        for name in self.targets:
            assert torch.equal(found[name], combine(self.updates[name], self.updates["shallow"], FULL)[0])
        assert list(diagnostics) == ["deep", "deeper"]

    def test_order_does_not_matter_even_if_a_reference_is_a_target(self):
        chain = {"deeper": "deep", "deep": "shallow"}
        reverse = dict(reversed(chain.items()))
        one, other = (apply_inco(self.updates, targets).updates for targets in (chain, reverse))
        assert all(torch.equal(one[name], other[name]) for name in one)

    @pytest.mark.parametrize("missing", ["deep", "shallow"])
    def test_what_nobody_held_is_left_out(self, missing):
        updates = {name: value for name, value in self.updates.items() if name != missing}
        found, diagnostics = apply_inco(updates, {"deep": "shallow"})
        assert diagnostics == {}
        assert all(found[name] is updates[name] for name in updates)

    def test_no_targets(self):
        found, diagnostics = apply_inco(self.updates, {})
        assert diagnostics == {}
        assert all(found[name] is value for name, value in self.updates.items())

    @pytest.mark.parametrize("options", [FULL, InCoOptions(optimise=False), InCoOptions(granularity="layer")])
    def test_kernels_that_nobody_held_keep_their_update(self, options):
        held = torch.zeros(3, 3, 3, 3)
        held[:2, :2] = 4  # a count, say
        update = torch.where(held > 0, self.updates["deep"], 0.0)
        found, diagnostics = apply_inco(
            {**self.updates, "deep": update}, {"deep": "shallow"}, options, {"deep": held}
        )
        whole = combine(update, self.updates["shallow"], options)[0]
        assert torch.equal(found["deep"][:2, :2], whole[:2, :2])
        assert found["deep"][2].count_nonzero() == found["deep"][:, 2].count_nonzero() == 0
        if options.granularity == "kernel":
            part = combine(update[:2, :2], self.updates["shallow"][:2, :2], options)[1]
            of_all = diagnostics["deep"]
            for key in ("theta", "beta_positive", "capped", "clipped", "term_norm"):
                assert of_all[key] == pytest.approx(part[key], rel=1e-12)

    def test_vectors_with_a_mask(self):
        vectors = {"a": random(6, seed=1), "b": random(6, seed=2)}
        held = torch.ones(6)
        plain, masked = (apply_inco(vectors, {"b": "a"}, FULL, mask) for mask in (None, {"b": held}))
        assert torch.equal(plain.updates["b"], masked.updates["b"])
        assert plain.diagnostics == masked.diagnostics
        nobody = apply_inco(vectors, {"b": "a"}, FULL, {"b": torch.zeros(6)})
        assert torch.equal(nobody.updates["b"], vectors["b"])

    def test_other_shapes_are_refused(self):
        updates = {**self.updates, "deep": random(3, 2, 3, 3)}
        with pytest.raises(ValueError, match=r"'deep' has shape \(3, 2, 3, 3\), its reference 'shallow'"):
            apply_inco(updates, self.targets)
        with pytest.raises(ValueError, match="the mask of 'deep'"):
            apply_inco(self.updates, self.targets, FULL, {"deep": torch.ones(3)})

    def test_dtypes_stay(self):
        singles = {name: value.float() for name, value in self.updates.items()}
        assert apply_inco(singles, self.targets).updates["deep"].dtype == torch.float32
        assert apply_inco(self.updates, self.targets).updates["deep"].dtype == torch.float64


def test_diagnostics_by_hand():
    g_0, g_k = torch.zeros(2, 1, 2, 3, 3, dtype=torch.float64)
    g_0[0, :, 0, 0] = double(0.03, 0.001)
    g_k[0, :, 0, 0] = double(-0.03, 0.09)
    result, found = combine(g_k, g_0, FULL)
    theta = 9e-4 / (9e-4 + EPSILON)
    # Second kernel: beta = 9e-5, alpha = 1e-6, theta = 5; (0.09 / n + 5) (0.091 / 2) is clipped.
    assert found["theta"] == pytest.approx((theta + 5) / 2, rel=1e-12)
    assert found["beta_positive"] == found["capped"] == 0.5
    assert found["clipped"] == 1 / 18
    assert float(result[0, 1, 0, 0]) == 0.1
    assert found["layer_beta"] == pytest.approx(-9e-4 + 9e-5, rel=1e-12)
    assert found["layer_theta"] == pytest.approx(8.1e-4 / (9.01e-4 + EPSILON), rel=1e-12)
    assert found["norm"] == pytest.approx(math.sqrt(0.009), rel=1e-12)
    assert found["reference_norm"] == pytest.approx(math.sqrt(9.01e-4), rel=1e-12)
    terms = [theta * 0.03 / (0.03 + EPSILON) * 0.03, 5 * 0.001 / (0.001 + EPSILON) * 0.0455]
    assert found["term_norm"] == pytest.approx(math.hypot(*terms), rel=1e-12)


def test_noise_instead_of_the_term_is_as_long_and_drawn_from_the_generator():
    """Its length is that of theta g_0 as it is added; g_k's part is that of InCo."""
    update, reference = random(3, 2, 3, 3, seed=1), random(3, 2, 3, 3, seed=2)
    options = {"clip": 0.0, "theta_max": 0.0}
    whole, measured = combine(update, reference, InCoOptions(**options))
    noisy = [
        combine(update, reference, InCoOptions(**options, term="noise"), generator=generator(seed))[0]
        for seed in (0, 0, 1)
    ]
    own = combine(update, torch.zeros_like(reference), InCoOptions(**options, normalise=False))[0]
    torch.testing.assert_close(own, update)
    by_hand = update.flatten(2)
    norms = by_hand.norm(dim=2), reference.flatten(2).norm(dim=2)
    part = (by_hand * ((norms[0] + norms[1]) / 2 / (norms[0] + EPSILON))[..., None]).view_as(update)
    assert (whole - part).norm().item() == pytest.approx(measured["term_norm"], rel=1e-6)
    assert (noisy[0] - part).norm().item() == pytest.approx(measured["term_norm"], rel=1e-6)
    assert torch.equal(noisy[0], noisy[1])
    assert not torch.equal(noisy[0], noisy[2])
    cosine = ((noisy[0] - part) * (whole - part)).sum() / measured["term_norm"] ** 2
    assert abs(cosine.item()) < 0.5
