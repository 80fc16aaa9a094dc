import { type CpuModelFacts, cpuidRow as row } from '../cpu-model.ts'
import { intelXstate } from './xstate-geometry.ts'

const GUEST = 'Granite Rapids server, CPUID as a KVM guest saw it on Linux 6.18'
const BARE = 'computed: bare chip, not what KVM passes on'

/** Xeon 6 (Redwood Cove server core): Sapphire Rapids' state with AMX-FP16, AVX10.1 and 52 physical address bits. */
export const graniteRapids: CpuModelFacts = {
  name: 'GraniteRapids',
  vendor: 'GenuineIntel',
  family: 6,
  model: 0xad,
  stepping: 1,
  brand: 'Intel(R) Xeon(R) Processor',
  maxBasicLeaf: 0x24,
  maxExtendedLeaf: 0x80000008,
  rows: [
    row(0x1, 0, 0, 0, 0xf7fa3207, 0x0fabfbff, GUEST),
    row(0x2, 0, 0x00feff01, 0x000000f0, 0, 0, GUEST),
    row(0x4, 0, 0x00000121, 0x02c0003f, 0x0000003f, 0, GUEST), // L1D 48 KiB, 12 ways
    row(0x4, 1, 0x00000122, 0x03c0003f, 0x0000003f, 0, GUEST), // L1I 64 KiB, 16 ways
    row(0x4, 2, 0x00000143, 0x03c0003f, 0x000007ff, 0, GUEST), // L2 2 MiB, 16 ways
    row(0x4, 3, 0x00000163, 0x03c0003f, 0x00077fff, 0x4, GUEST), // L3 480 MiB, 16 ways
    row(0x5, 0, 0x40, 0x40, 0x3, 0x1020, 'manual: as on Sapphire Rapids; no reading of this part'),
    row(0x6, 0, 0x4, 0, 0, 0, GUEST),
    row(0x7, 0, 2, 0xf1bf27eb, 0x1b415fce, 0xbfd14410, GUEST),
    row(0x7, 1, 0x00201c30, 0, 0, 0x00084000, GUEST),
    row(0x7, 2, 0, 0, 0, 0x3f, GUEST),
    row(0xd, 1, 0x1f, 0, 0, 0, GUEST),
    row(0x15, 0, 2, 160, 25_000_000, 0, 'SDM Vol. 3B "Time-Stamp Counter": 25 MHz crystal; ratio of a 2.0 GHz part'),
    row(0x16, 0, 2000, 3900, 100, 0, 'Xeon 6972P class: base rounded to 2.0 GHz; no reading of this part'),
    row(
      0x1c,
      0,
      0x4000000b,
      0x7,
      0x7,
      0,
      'manual: SDM Vol. 3B §18.1.1 (architectural LBR, depths 8, 16, 32); no reading of this part',
    ),
    row(0x1d, 0, 1, 0, 0, 0, GUEST),
    row(0x1d, 1, 0x04002000, 0x00080040, 0x10, 0, GUEST),
    row(0x1e, 0, 0, 0x4010, 0, 0, GUEST),
    row(0x24, 0, 0, 0x00070001, 0, 0, GUEST), // AVX10 version 1; 128, 256 and 512 bits
    row(0x80000001, 0, 0, 0, 0x121, 0x2c100800, GUEST),
    row(0x80000006, 0, 0, 0, 0x08007040, 0, GUEST),
    row(0x80000007, 0, 0, 0, 0, 0x100, GUEST),
    row(0x80000008, 0, 0x3934, 0x4100d200, 0, 0, GUEST),
  ],
  adjustments: [
    { off: ['hypervisor', 'ibpb', 'ibrs', 'amd-stibp', 'amd-ssbd', 'ibpb-ret'], source: `${BARE}: set by KVM itself` },
    {
      on: ['monitor', 'ds-cpl', 'vmx', 'est', 'tm2', 'xtpr', 'dca', 'acpi', 'ht', 'tm', 'pbe'],
      source: 'manual: SDM Vol. 2A CPUID 01H; masked by KVM',
    },
    { on: ['waitpkg', 'pks'], source: 'manual: Intel ISA Extensions reference, Table 1-2; masked in the guest' },
    { on: ['enqcmd'], source: 'manual: Intel ISA Extensions reference, Table 1-2; component PASID' },
    { on: ['arch-lbr'], source: 'manual: SDM Vol. 3B ch. 18; component LBR' },
    { on: ['core-capability', 'split-lock-detect'], source: 'manual: SDM Vol. 2A CPUID 07H EDX[30]; SLD-10' },
  ],
  xstate: intelXstate,
  xstateSource: `${GUEST}; supervisor components PASID and LBR from the manual`,
  msrs: [
    { index: 0x8b, value: 0x1000405_00000000n, source: `${GUEST}: microcode revision of the host` },
    { index: 0xce, value: 0x8000_1400n, source: 'manual: SDM Vol. 4 Table 2-2 CEH (ratio 20); bit 31 read through KVM' },
    { index: 0xcf, value: 0x20n, source: 'SLD §1: bit 5, split-lock detection' },
    { index: 0xfe, value: 0xd0an, source: 'manual: SDM Vol. 3A §13.11.1: 10 variable ranges, fixed ranges, WC, SMRR' },
    { index: 0x10a, value: 0x40000000_0d08e0ebn, source: GUEST },
    { index: 0x1a0, value: 0x51801n, source: 'manual: SDM Vol. 4 Table 2-2 1A0H: fast strings, no BTS, no PEBS, EIST, MONITOR' },
  ],
  tscKhz: 2_000_000,
  instructionsPerMicrosecond: 2000,
  source: `${GUEST} (Amazon Linux, microcode 0x1000405); what KVM masks: Intel SDM`,
  hasRealDump: true,
  omissions: [
    { what: 'SMX, PDCM, performance counters (leaf 0AH is zero)', because: 'not modelled' },
    { what: 'SGX, TME, PCONFIG, RDT, HRESET, HWP, HDC, thermal leaf apart from ARAT', because: 'not modelled' },
    { what: 'Intel PT, UINTR and their components', because: 'not modelled' },
    { what: 'LAM, WRMSRNS, LASS', because: 'not shown in the guest reading; no reading of the bare part' },
  ],
}
