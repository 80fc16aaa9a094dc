import type { FeatureName } from './cpuid-features.ts'

/**
 * Features that cannot exist without another one. Taking the left one from a chip takes the right ones with it, as `-cpu` of
 * QEMU drops features whose base is off. QEMU's own list covers rows marked (Q); it lets others stand without their state
 * component, which no chip has ever done, so the rows from the manual (SDM Vol. 1 §13.5, §14.3, §15.4) are added.
 */
// biome-ignore format: one base a row
export const featureDependencies: readonly { readonly base: FeatureName; readonly dependents: readonly FeatureName[] }[] = [
  { base: 'fpu', dependents: ['fxsr', 'mmx'] },
  { base: 'fxsr', dependents: ['sse', 'xsave', 'fxsr-opt'] },
  { base: 'sse', dependents: ['sse2'] },
  { base: 'sse2', dependents: ['pni', 'ssse3', 'sse4.1', 'sse4.2', 'aes', 'pclmulqdq', 'sha-ni', 'gfni', 'sse4a'] },
  { base: 'xsave', dependents: ['xsaveopt', 'xsavec', 'xgetbv1', 'xsaves', 'xfd', 'avx', 'pku', 'mpx', 'amx-tile', 'apx'] },
  {
    base: 'avx',
    dependents: [
      'fma', 'f16c', 'avx2', 'vaes', 'vpclmulqdq', 'xop', 'fma4', 'avx-vnni', 'avx-ifma', 'avx-vnni-int8', 'avx-vnni-int16',
      'avx-ne-convert', 'sha512', 'sm3', 'sm4', 'avx512f',
    ],
  },
  {
    base: 'avx512f',
    dependents: [
      'avx512cd', 'avx512dq', 'avx512bw', 'avx512vl', 'avx512er', 'avx512pf', 'avx512ifma', 'avx512vbmi', 'avx512vbmi2',
      'avx512vnni', 'avx512bitalg', 'avx512-vpopcntdq', 'avx512-4vnniw', 'avx512-4fmaps', 'avx512-vp2intersect',
      'avx512-bf16', 'avx512-fp16', 'avx10-128',
    ],
  },
  { base: 'amx-tile', dependents: ['amx-int8', 'amx-bf16', 'amx-fp16', 'amx-complex', 'amx-fp8', 'amx-tf32', 'amx-avx512', 'amx-movrs'] },
  { base: 'amx-int8', dependents: ['amx-int8-alias'] },
  { base: 'amx-bf16', dependents: ['amx-bf16-alias'] },
  { base: 'amx-fp16', dependents: ['amx-fp16-alias'] },
  { base: 'amx-complex', dependents: ['amx-complex-alias'] },
  { base: 'avx10-128', dependents: ['avx10-256', 'avx10'] }, // (Q)
  { base: 'avx10-256', dependents: ['avx10-512'] }, // (Q)
  { base: 'avx10', dependents: ['avx10-128', 'avx10-256', 'avx10-512'] }, // (Q)
  { base: 'pku', dependents: ['ospke'] },
  { base: 'apic', dependents: ['x2apic', 'tsc-deadline', 'extapic'] },
  { base: 'tsc', dependents: ['rdtscp', 'tsc-deadline', 'tsc-adjust', 'invtsc'] },
  { base: 'lm', dependents: ['lahf-lm', 'la57', 'lam', 'fred', 'lkgs'] }, // fred (Q)
  { base: 'lkgs', dependents: ['fred'] }, // (Q)
  { base: 'wrmsrns', dependents: ['fred'] }, // (Q)
  { base: 'sgx', dependents: ['sgxlc', 'sgx-keys'] }, // sgxlc (Q)
  { base: 'intel-pt', dependents: ['intel-pt-lip', 'pt-cr3-filter', 'pt-psb-cyc', 'pt-ip-filter', 'pt-mtc', 'pt-ptwrite', 'pt-power-events', 'pt-topa', 'pt-topa-multiple', 'pt-single-range'] }, // intel-pt-lip (Q)
  { base: 'key-locker', dependents: ['kl-cpl0-only', 'kl-no-encrypt', 'kl-no-decrypt', 'aeskle', 'aes-wide-kl', 'kl-iwkey-backup'] },
  {
    base: 'svm', // (Q)
    dependents: [
      'npt', 'lbrv', 'svm-lock', 'nrip-save', 'tsc-scale', 'vmcb-clean', 'flushbyasid', 'decodeassists', 'pause-filter',
      'pfthreshold', 'avic', 'v-vmsave-vmload', 'vgif', 'vnmi', 'svme-addr-chk', 'gmet', 'x2avic', 'sss-check', 'v-spec-ctrl',
      'rogpt', 'host-mce-override', 'tlbi-ctl', 'bus-lock-threshold',
    ],
  },
  { base: 'perfctr-core', dependents: ['perfmon-v2'] }, // (Q)
  { base: 'core-capability', dependents: ['split-lock-detect'] }, // (Q)
  { base: 'pdcm', dependents: ['full-width-write'] }, // (Q)
  {
    base: 'arch-capabilities', // (Q)
    dependents: [
      'rdctl-no', 'ibrs-all', 'rsba', 'skip-l1dfl-vmentry', 'ssb-no', 'mds-no', 'pschange-mc-no', 'tsx-ctrl', 'taa-no',
      'sbdr-ssdp-no', 'fbsdp-no', 'psdp-no', 'fb-clear', 'pbrsb-no', 'gds-no', 'rfds-no', 'rfds-clear', 'its-no',
    ],
  },
]

const dependentsOf = new Map<FeatureName, readonly FeatureName[]>()
for (const { base, dependents } of featureDependencies) dependentsOf.set(base, [...(dependentsOf.get(base) ?? []), ...dependents])

/** `removed` and everything that falls with it. */
export function withDependents(removed: Iterable<FeatureName>): Set<FeatureName> {
  const all = new Set<FeatureName>()
  const pending = [...removed]
  for (let name = pending.pop(); name !== undefined; name = pending.pop()) {
    if (all.has(name)) continue
    all.add(name)
    pending.push(...(dependentsOf.get(name) ?? []))
  }
  return all
}

/** Bases `feature` needs directly. */
export function basesOf(feature: FeatureName): FeatureName[] {
  return featureDependencies.filter((d) => d.dependents.includes(feature)).map((d) => d.base)
}
