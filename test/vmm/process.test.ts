import { describe, expect, it } from 'vitest'
import { testHost } from './hosts.ts'

describe('a process without a program', () => {
  it('opens /dev/kvm and asks it questions [KAPI-06, KAPI-11]', () => {
    const kvm = testHost().newProcess().openKvm()
    expect(kvm.getApiVersion()).toBe(12)
    expect(kvm.getVcpuMmapSize()).toBe(12288)
    expect(kvm.checkExtension('KVM_CAP_NR_MEMSLOTS')).toBe(32764)
    expect(kvm.checkExtension(65535)).toBe(0)
  })
})
