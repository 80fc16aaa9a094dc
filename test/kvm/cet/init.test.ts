import { describe, expect, test } from 'vitest'
import { MSR_IA32_INT_SSP_TAB, MSR_IA32_PL0_SSP, MSR_IA32_S_CET, MSR_IA32_U_CET } from '../../../src/isa/msr-index.ts'
import { KVM_REG_GUEST_SSP } from '../../../src/vmm/vcpu-fd.ts'
import { testHost } from '../../vmm/hosts.ts'

/** KVM_SIGNAL_MSI with delivery mode INIT, to the vCPU with APIC id 1. */
const INIT_TO_1 = { address_lo: 0xfee01000, data: 0x4500 }
const REGISTERS = [MSR_IA32_U_CET, MSR_IA32_S_CET, MSR_IA32_PL0_SSP, MSR_IA32_INT_SSP_TAB]

/** A second vCPU with CET state, for which an INIT waits. */
function initWaits(kernel: string) {
  const kvm = testHost({ kernel }).newProcess().openKvm()
  const vm = kvm.createVm()
  vm.createIrqchip()
  vm.createVcpu()
  const vcpu = vm.createVcpu(1)
  vcpu.setCpuid2(kvm.getSupportedCpuid())
  expect(
    vcpu.setMsrs(
      REGISTERS.map((index) => ({ index, data: 0x1000n }))
        .with(0, { index: MSR_IA32_U_CET, data: 1n })
        .with(1, { index: MSR_IA32_S_CET, data: 1n }),
    ),
  ).toBe(4)
  vcpu.setOneReg(KVM_REG_GUEST_SSP, 0x2000n)
  vcpu.setMpState(0)
  vm.signalMsi(INIT_TO_1)
  return vcpu
}

describe('an INIT that KVM_GET_MP_STATE takes on a host with CET and without MPX', () => {
  test('clears CET_U, CET_S, S_CET, SSP and the table [CET-34, GFPU-48]', () => {
    const vcpu = initWaits('linux-6.18')
    expect(vcpu.getMpState()).toBe(2)
    expect(vcpu.getMsrs(REGISTERS).map(({ data }) => data)).toEqual([0n, 0n, 0n, 0n])
    expect(vcpu.getOneReg(KVM_REG_GUEST_SSP)).toBe(0n)
  })

  test('ends the VM before late 6.18: the image is put that was never loaded [GFPU-09, GFPU-16, GFPU-48]', () => {
    const vcpu = initWaits('linux-6.18.0')
    vcpu.getMpState()
    expect(() => vcpu.getRegs()).toThrow(/EIO/)
  })
})
